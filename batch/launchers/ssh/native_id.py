"""The native id of a job: ACCOUNT@HOST after its placement, ACCOUNT@HOST:PID.START after its start. Pure."""

import re
from typing import Final

from msgspec import Struct

_NATIVE_ID: Final = re.compile(r"(?P<account>[^@:\s]+)@(?P<host>[^@:\s]+)(?::(?P<pid>\d+)\.(?P<start>\d+))?")


class Place(Struct, frozen=True, kw_only=True):
    """Where a job is. `pid` 0: not started, or not known."""

    account: str
    host: str
    pid: int = 0
    start: int = 0

    def __str__(self) -> str:
        address = f"{self.account}@{self.host}"
        return f"{address}:{self.pid}.{self.start}" if self.pid else address


def parse(native_id: str) -> Place | None:
    """Return the place that a native id names; None: the hub did not write it."""
    found = _NATIVE_ID.fullmatch(native_id)
    if found is None:
        return None
    pid, start = int(found["pid"] or 0), int(found["start"] or 0)
    return Place(account=found["account"], host=found["host"], pid=pid, start=start)
