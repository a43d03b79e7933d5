"""What this process has found in the store and could not read: each record is logged once.

A record that cannot be read is set aside: it is left as it is, nothing acts on it, and the rest goes on. Admins are
told where it is (`state.store.bad_records`).
"""

import logging
import time
from typing import Final

from msgspec import Struct

FOUND_MAX: Final = 1000
"""Records that a process remembers. What is found beyond that is set aside without being logged."""

_log = logging.getLogger("towpath.store")


class BadRecord(Struct, frozen=True, kw_only=True):
    """A record that could not be read. `field`: of the hash (or the id in the stream) at `key`; `""`: the whole key.

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
    """The bad records that a process has come across."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}
        self._untold: list[BadRecord] = []

    def note(self, kind: str, key: str, field: str, reason: str, *, newer: bool = False) -> BadRecord:
        """Remember a record, and log it when it is found for the first time (or bad in another way)."""
        record = BadRecord(kind=kind, key=key, field=field, reason=reason, newer=newer, found=time.time())
        if self._seen.get(record.place) != reason and len(self._seen) < FOUND_MAX:
            self._seen[record.place] = reason
            self._untold.append(record)
            _log.error(
                "A record cannot be read and is set aside. kind=%s key=%s field=%r reason=%r", kind, key, field, reason
            )
        return record

    def take(self) -> list[BadRecord]:
        """What has been found since the last call."""
        found, self._untold = self._untold, []
        return found

    def put_back(self, records: list[BadRecord]) -> None:
        """What `take` returned, when it could not be told."""
        self._untold = [*records, *self._untold][:FOUND_MAX]
