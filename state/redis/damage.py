"""The unreadable records that this process has found in the store. Each one is logged once.

An unreadable record is set aside: it stays unchanged, nothing acts on it, and everything else continues. Admins are
shown where it is (`state.store.bad_records`).
"""

import logging
import time
from typing import Final

from msgspec import Struct

FOUND_MAX: Final = 1000
"""Maximum number of records that a process remembers. Further ones are set aside without a log entry."""

_log = logging.getLogger("towpath.store")


class BadRecord(Struct, frozen=True, kw_only=True):
    """An unreadable record. `field`: in the hash (or the id in the stream) at `key`; `""`: the whole key.

    `newer`: a newer version of Towpath wrote it. `found`: seconds since the epoch.
    """

    kind: str
    key: str
    field: str = ""
    reason: str
    newer: bool = False
    found: float

    @property
    def place(self) -> str:
        """Key and field, as a name for the record."""
        return f"{self.key} {self.field}" if self.field else self.key


class Damage:
    """The unreadable records that a process has found."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}
        self._untold: list[BadRecord] = []

    def note(self, kind: str, key: str, field: str, reason: str, *, newer: bool = False) -> BadRecord:
        """Remember a record. It is logged the first time, and again if the reason is another one."""
        record = BadRecord(kind=kind, key=key, field=field, reason=reason, newer=newer, found=time.time())
        if self._seen.get(record.place) != reason and len(self._seen) < FOUND_MAX:
            self._seen[record.place] = reason
            self._untold.append(record)
            _log.error(
                "A record cannot be read and is set aside kind=%s key=%s field=%r reason=%r", kind, key, field, reason
            )
        return record

    def take(self) -> list[BadRecord]:
        """Return what has been found since the last call."""
        found, self._untold = self._untold, []
        return found

    def put_back(self, records: list[BadRecord]) -> None:
        """Keep the result of `take` for the next call, because it could not be reported."""
        self._untold = [*records, *self._untold][:FOUND_MAX]
