"""Readers of single fields in the JSON of slurmrestd, in whatever shape a version writes them.

Owns these primitives. Pure. A field that they do not understand is None or empty.
"""

from collections.abc import Mapping
from typing import Any, Final

from batch.launchers.slurm.catalog.tres import names

ENDLESS: Final = 2**31 - 1
"""From this number on, a number means "no limit" (NO_VAL and INFINITE are 2^32 - 2 and 2^32 - 1)."""


def number(value: Any, key: str) -> int | None:
    """Return a number, wrapped or not; None: not set, or no limit."""
    found = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(found, Mapping):
        found = found.get("number") if found.get("set") and not found.get("infinite") else None
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < ENDLESS:
        return None
    return found


def minutes(value: int | None) -> int | None:
    """Convert minutes to seconds."""
    return None if value is None else value * 60


def text(value: Any, key: str) -> str:
    """Return a string."""
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, str) else ""


def items(value: Any, key: str) -> list[Any]:
    """Return a list."""
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, list) else []


def inside(value: Any, *path: str) -> Mapping[str, Any]:
    """Return the object at the end of a path of keys."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def state_parts(value: Any, key: str) -> set[str]:
    """Return a state or flags in upper case, from a list or one string."""
    found = value.get(key) if isinstance(value, Mapping) else None
    listed = found if isinstance(found, list) else [found] if isinstance(found, str) else []
    return {str(part).upper() for part in listed if part}


def names_in(value: Any, key: str) -> tuple[str, ...]:
    """Return a list of names, from a list or a string with commas."""
    found = value.get(key) if isinstance(value, Mapping) else None
    return tuple(str(name) for name in found) if isinstance(found, list) else names(text(value, key))
