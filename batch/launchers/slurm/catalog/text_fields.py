"""What Slurm's commands print, taken apart: records, rows, times, sizes.

Owns those primitives. Pure. A line or a field that is not understood is left out.
"""

import calendar
import re
import time
from collections.abc import Iterator, Sequence
from typing import Final

MIB: Final = 1024**2
UNITS: Final = {"": MIB, "K": 1024, "M": MIB, "G": 1024**3, "T": 1024**4, "P": 1024**5}
_FIELD: Final = re.compile(r"(?:^|\s)([A-Za-z][A-Za-z0-9_/:]*)=")
_DURATION: Final = re.compile(r"(?:([0-9]{1,6})-)?([0-9]{1,6})(?::([0-9]{1,6}))?(?::([0-9]{1,6}))?")
_SIZE: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,6})?)([KMGTP]?)")


def fields(line: str) -> dict[str, str]:
    """`Key=value` pairs of a one-line record. Values may hold blanks; of a key that is there twice the first counts.

    What users write (a node's reason or comment) comes last, so it cannot take the place of what Slurm says.
    """
    marks = list(_FIELD.finditer(line))
    found: dict[str, str] = {}
    for at, mark in enumerate(marks):
        end = marks[at + 1].start() if at + 1 < len(marks) else len(line)
        found.setdefault(mark[1], line[mark.end() : end].strip())
    return found


def records(text: str, first: str) -> Iterator[dict[str, str]]:
    """The fields of each line that begins with this key."""
    for line in text.splitlines():
        if line.startswith(f"{first}="):
            yield fields(line)


def rows(text: str, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """The lines with as many fields as are wanted, by their names."""
    for line in text.splitlines():
        values = line.split("|")
        if len(values) == len(columns):
            yield dict(zip(columns, values, strict=True))


def seconds_of(text: str) -> int | None:
    """`[D-]HH:MM:SS`, `MM:SS` or minutes, in seconds; None: no limit (`UNLIMITED`, `NONE`, `Partition_Limit`)."""
    found = _DURATION.fullmatch(text)
    if found is None:
        return None
    days, *rest = (None if part is None else int(part) for part in found.groups())
    first, second, third = rest
    if days is not None:  # D-HH, D-HH:MM, D-HH:MM:SS
        return days * 86400 + (first or 0) * 3600 + (second or 0) * 60 + (third or 0)
    if third is not None:
        return (first or 0) * 3600 + (second or 0) * 60 + third
    return (first or 0) * 60 + (second or 0)


def memory_of(text: str) -> int | None:
    """Memory in bytes: `4G`, `100M`, or MiB."""
    found = _SIZE.fullmatch(text)
    return None if found is None else int(float(found[1]) * UNITS[found[2]])


def time_of(text: str) -> float | None:
    """`2026-11-25T14:31:33` (UTC, which Slurm's commands are told to use), or seconds; None: not known."""
    if text.isascii() and text.isdigit() and len(text) < 12:  # noqa: PLR2004 - up to the year 5138
        return float(text)
    try:
        return float(calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%S")))
    except (ValueError, OverflowError):
        return None


def integer(text: str) -> int | None:
    """A whole number; None: it is none, or no limit."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None  # noqa: PLR2004 - 64 bits
