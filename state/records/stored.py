"""The base of all records in the store: the version of the schema, and fields from newer versions.

Raise SCHEMA when a nested struct gets a field, when a field changes its meaning, or when an enum gets a value. An older
version of Towpath that reads such a record then preserves what it does not know (`state.records.codec`).
"""

from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

SCHEMA: Final = 2


class Stored(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A record. `version`: of the schema that it was written with; records from before versions have none.

    `newer`: all fields as they were read, if a newer version wrote some of them. It is never written itself.
    """

    version: int = SCHEMA
    newer: dict[str, msgspec.Raw] | UnsetType = UNSET


def known_fields(record: Stored) -> dict[str, Any]:
    """Return the fields that this version knows, as builtin types.

    Use this in place of `msgspec.to_builtins`, which raises TypeError for a record that a newer version wrote.
    """
    known: dict[str, Any] = msgspec.to_builtins(record if record.newer is UNSET else replace(record, newer=UNSET))
    return known
