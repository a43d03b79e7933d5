"""Sizes and times as users and schedulers write them, and as records contain them.

Owns memory as `4G` or `512M`, durations as `[D-]HH:MM:SS`, the other accepted forms, and both as text for users.
Pure. Does not know about limits.

Sources: sbatch(1) (`--mem`, `--time`). Values that sbatch reads in a surprising way are rejected: `8:00` (eight minutes
there), and a bare number (megabytes, minutes).
"""

import re
from typing import Final

MEBIBYTE: Final = 1024**2
GIBIBYTE: Final = 1024**3
MINUTE, HOUR, DAY = 60, 3600, 86400
LONGEST: Final = 3650 * DAY
LARGEST: Final = 1024**5

_UNITS: Final = {"m": MEBIBYTE, "g": GIBIBYTE, "t": 1024**4}
_MEMORY: Final = re.compile(r"([0-9]{1,10})(?:\.([0-9]{1,3}))? ?([mgtMGT])(?:i?[bB])?", re.ASCII)
_CLOCK: Final = re.compile(r"(?:([0-9]{1,4})-)?([0-9]{1,5}):([0-9]{1,2}):([0-9]{1,2})", re.ASCII)
_DAYS: Final = re.compile(r"([0-9]{1,4})-([0-9]{1,2})(?::([0-9]{1,2}))?", re.ASCII)
_WORDS: Final = re.compile(
    r"(?:([0-9]{1,4}) ?d(?:ays?)?)? ?(?:([0-9]{1,5}) ?h(?:ours?)?)? ?(?:([0-9]{1,7}) ?m(?:in(?:utes?)?)?)?", re.ASCII
)


def memory_of(text: str) -> int | None:
    """Return the bytes of `4G`, `512M`, `1.5 GB`, `2TiB`; None for others. Units are powers of 1024, as Slurm's.

    Fractions of a mebibyte are cut off, because schedulers do not support them.
    """
    found = _MEMORY.fullmatch(text.strip())
    if found is None:
        return None
    whole, part, unit = found.groups()
    size = _UNITS[unit.lower()]
    total = int(whole) * size + (int(part) * size // 10 ** len(part) if part else 0)
    total -= total % MEBIBYTE
    return total if MEBIBYTE <= total <= LARGEST else None


def memory_text(size: int) -> str:
    """Return bytes as records contain them, in whole mebibytes: `4G`, `1536M`."""
    return f"{size // GIBIBYTE}G" if size % GIBIBYTE == 0 and size else f"{size // MEBIBYTE}M"


def walltime_of(text: str) -> int | None:
    """Return the seconds of `08:00:00`, `1-12:00:00`, `1-12`, `90m`, `1h 30m`, `2 days`; None for others and for 0."""
    text = text.strip().lower()
    days = hours = minutes = seconds = "0"
    if found := _CLOCK.fullmatch(text):
        days, hours, minutes, seconds = (part or "0" for part in found.groups())
    elif (found := _DAYS.fullmatch(text)) or (found := _WORDS.fullmatch(text)):
        days, hours, minutes = (part or "0" for part in found.groups())
    if ":" in text and (int(minutes) >= MINUTE or int(seconds) >= MINUTE):
        return None
    total = int(days) * DAY + int(hours) * HOUR + int(minutes) * MINUTE + int(seconds)
    return total if 0 < total <= LONGEST else None


def walltime_text(seconds: int) -> str:
    """Return seconds as records contain them: `08:00:00`, `1-12:00:00`."""
    days, rest = divmod(seconds, DAY)
    clock = f"{rest // HOUR:02d}:{rest % HOUR // MINUTE:02d}:{rest % MINUTE:02d}"
    return f"{days}-{clock}" if days else clock


def walltime_words(seconds: int) -> str:
    """Return seconds as text: `8 hours`, `1 day 12 hours`, `1 hour 30 minutes` for 90 minutes; never rounded up."""
    parts = []
    for size, unit in ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute")):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}" if count == 1 else f"{count} {unit}s")
    return " ".join(parts) or "less than a minute"
