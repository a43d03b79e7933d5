"""Ranges of ports, as the configuration writes them. Pure."""

import re
from typing import Final

FIRST_PORT: Final = 1024
"""The first port that a job of a user can listen on."""
LAST_PORT: Final = 65535
_RANGE: Final = re.compile(r"(\d{1,5})-(\d{1,5})")


def port_range(text: str) -> tuple[int, int] | None:
    """Return the first and the last port of a range such as `40000-40100`; None: it is not one that jobs can use."""
    found = _RANGE.fullmatch(text)
    if found is None:
        return None
    first, last = int(found[1]), int(found[2])
    return (first, last) if FIRST_PORT <= first <= last <= LAST_PORT else None
