"""Bytes and seconds in messages.

Owns how they are written. Pure.
"""

from typing import Final

KIB: Final = 1024


def size(count: int) -> str:
    """Bytes as text: `100 MB`, `3.9 GB` (in steps of 1024, as Slurm counts)."""
    value, unit = float(count), "bytes"
    for name in ("KB", "MB", "GB", "TB"):
        if value < KIB:
            break
        value, unit = value / KIB, name
    return f"{value:.1f}".removesuffix(".0") + f" {unit}"


def duration(seconds: float) -> str:
    """Seconds as text, in the two largest units: `30 minutes`, `1 day 2 hours`."""
    left, parts = max(0, round(seconds)), []
    for name, length in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count} {name}" + ("s" if count > 1 else ""))
    return " ".join(parts[:2]) or "0 seconds"
