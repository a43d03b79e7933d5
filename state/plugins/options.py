"""What the descriptions of all plug-ins share: their table of options, and how its faults are reported."""

from collections.abc import Callable
from functools import cache
from typing import Any

from msgspec import Struct
from msgspec.structs import fields

Say = Callable[[str, str], None]
"""Report a fault of the configuration: its key, a message."""


class NoOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A kind without a table of its own."""


def no_faults(*_: Any) -> None:
    """Accept all options that have the right types."""


@cache
def has_required(options: type[Struct]) -> bool:
    """Return whether the table has a key without a default."""
    return any(field.required for field in fields(options))
