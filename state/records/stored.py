"""What every record in the store has in common: the version of its schema, and what a newer version wrote into it.

Raise SCHEMA when a nested struct gets a field, when a field changes its meaning, or when an enum gets a value: an older
version of Towpath that reads such a record then keeps what it does not know (`state.records.codec`).
"""

from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

SCHEMA: Final = 1


class Stored(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A record. `version`: of the schema that it was written by; records from before there were versions have none.

    `newer`: all fields as they were read, where a newer version wrote some of them. It is never written itself.
    """

    version: int = SCHEMA
    newer: dict[str, msgspec.Raw] | UnsetType = UNSET
