"""The kinds of option that are requests to a scheduler, and the options of a profile by kind.

Owns the list of kinds, and the conversion of amounts between canonical values (`4G`, `08:00:00`, 2) and numbers. Pure.
Does not know catalogs.
"""

from typing import Any, Final

from state.config.tables import OptionConfig, ProfileConfig, ResourcesConfig
from state.offer.quantities import MEBIBYTE, MINUTE, memory_of, memory_text, walltime_of, walltime_text, walltime_words

NAMED: Final = ("partition", "account", "qos", "reservation", "gpu", "constraint")
"""Kinds of option whose value is a name."""
COUNTED: Final = ("nodes", "gpus", "cores", "memory", "walltime")
"""Kinds of option whose value is an amount. Memory is in bytes here, walltime in seconds."""
KINDS: Final = (*NAMED, *COUNTED)
ACCOUNTING_NAME: Final = r"\w(?:[\w .@+:/()-]{0,126}[\w.@+:/()-])?"
"""The names of accounts and QOS that may be passed to a command. Slurm allows spaces, slashes and letters of any
language. Quotes are excluded, and everything that would make the name a list or an option."""

SchedulerOptions = dict[str, tuple[str, OptionConfig]]
"""Kind → name and option."""


def scheduler_options(profile: ProfileConfig) -> SchedulerOptions:
    """Return the profile's options that are requests to the scheduler, by kind."""
    return {option.kind: (name, option) for name, option in profile.option.items() if option.kind in KINDS}


def fixed(resources: ResourcesConfig, kind: str) -> Any:
    """Return the profile's own value for a kind: a name, or an amount in bytes, seconds or pieces; None: none."""
    raw = getattr(resources, kind)
    if kind == "memory":
        return memory_of(raw)
    if kind == "walltime":
        return walltime_of(raw)
    return raw if raw != "" else None


def amount(kind: str, value: Any) -> int | None:
    """Return a canonical value as a number (memory in bytes, walltime in seconds); None: left to the cluster."""
    if kind == "memory":
        return memory_of(value) if value else None
    if kind == "walltime":
        return walltime_of(value) if value else None
    return value if isinstance(value, int) else None


def canonical(kind: str, number: int) -> Any:
    """Return the canonical value of a number: the inverse of `amount`."""
    return memory_text(number) if kind == "memory" else walltime_text(number) if kind == "walltime" else number


def unit(kind: str) -> int:
    """Return the unit of an option's `minimum` and `maximum`, in bytes, seconds or pieces."""
    return {"memory": MEBIBYTE, "walltime": MINUTE}.get(kind, 1)


def quantity_text(kind: str, number: int) -> str:
    """Return an amount as text for users."""
    if kind == "walltime":
        return walltime_words(number)
    return str(canonical(kind, number))


def least(kind: str, option: OptionConfig) -> int:
    """Return the smallest amount that the option allows."""
    floor = {"gpus": 0, "memory": MEBIBYTE}.get(kind, 1)
    return floor if option.minimum is None else max(floor, option.minimum * unit(kind))


def of_entry(kind: str, entry: str) -> Any:
    """Return one of an option's `values` (texts) as a canonical value, or unchanged if it is not an amount."""
    if kind in {"memory", "walltime"}:
        number = memory_of(entry) if kind == "memory" else walltime_of(entry)
        return entry if number is None else canonical(kind, number)
    return int(entry) if entry.isascii() and entry.isdigit() else entry
