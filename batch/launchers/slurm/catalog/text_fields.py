"""Parsers for the output of Slurm's commands: records, rows, times, sizes.

Owns these primitives. Pure. Lines and fields that they do not understand are left out.
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
    """Parse the `Key=value` pairs of a one-line record.

    Values may contain spaces. If a key occurs twice, the first counts: what users write (a node's reason or comment)
    comes last, so it cannot replace a value of Slurm.
    """
    marks = list(_FIELD.finditer(line))
    found: dict[str, str] = {}
    for at, mark in enumerate(marks):
        end = marks[at + 1].start() if at + 1 < len(marks) else len(line)
        found.setdefault(mark[1], line[mark.end() : end].strip())
    return found


def records(text: str, first: str) -> Iterator[dict[str, str]]:
    """Return the fields of each line that begins with this key."""
    for line in text.splitlines():
        if line.startswith(f"{first}="):
            yield fields(line)


def rows(text: str, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """Return the lines that have as many fields as there are columns, as dictionaries."""
    for line in text.splitlines():
        values = line.split("|")
        if len(values) == len(columns):
            yield dict(zip(columns, values, strict=True))


def seconds_of(text: str) -> int | None:
    """Parse `[D-]HH:MM:SS`, `MM:SS` or minutes into seconds; None: no limit (such as `UNLIMITED`)."""
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
    """Parse a size of memory into bytes: `4G`, `100M`, or a number of MiB."""
    found = _SIZE.fullmatch(text)
    return None if found is None else int(float(found[1]) * UNITS[found[2]])


def time_of(text: str) -> float | None:
    """Parse `2026-11-25T14:31:33` (UTC, because the hub sets TZ for Slurm's commands), or seconds; None: not known."""
    if text.isascii() and text.isdigit() and len(text) < 12:  # noqa: PLR2004 - up to the year 5138
        return float(text)
    try:
        return float(calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%S")))
    except (ValueError, OverflowError):
        return None


def integer(text: str) -> int | None:
    """Parse a whole number; None: it is not a number, or means "no limit"."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None  # noqa: PLR2004 - 64 bits
