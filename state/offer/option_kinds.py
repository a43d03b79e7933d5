"""The kinds of option that ask something of a scheduler, and a profile seen by kind.

Owns which kinds there are, and an amount's way between a canonical value (`4G`, `08:00:00`, 2) and a number. Pure.
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
"""What the name of an account or a QOS may be, where it comes to a command: Slurm takes spaces, slashes and letters
of any language in it. Neither quotes, nor what would make it a list or an option."""

Asked = dict[str, tuple[str, OptionConfig]]
"""Kind → name and option."""


def asked(profile: ProfileConfig) -> Asked:
    """The profile's options that ask something of the scheduler."""
    return {option.kind: (name, option) for name, option in profile.option.items() if option.kind in KINDS}


def fixed(resources: ResourcesConfig, kind: str) -> Any:
    """What the profile itself says about a kind: a name, or an amount in bytes, seconds or pieces; None: nothing."""
    raw = getattr(resources, kind)
    if kind == "memory":
        return memory_of(raw)
    if kind == "walltime":
        return walltime_of(raw)
    return raw if raw != "" else None


def amount(kind: str, value: Any) -> int | None:
    """A canonical value as a number (memory in bytes, walltime in seconds); None: left to the cluster."""
    if kind == "memory":
        return memory_of(value) if value else None
    if kind == "walltime":
        return walltime_of(value) if value else None
    return value if isinstance(value, int) else None


def canonical(kind: str, number: int) -> Any:
    """The inverse of `amount`."""
    return memory_text(number) if kind == "memory" else walltime_text(number) if kind == "walltime" else number


def unit(kind: str) -> int:
    """What one of an option's `minimum` and `maximum` is, in the amount's own unit."""
    return {"memory": MEBIBYTE, "walltime": MINUTE}.get(kind, 1)


def words(kind: str, number: int) -> str:
    """An amount as text."""
    if kind == "walltime":
        return walltime_words(number)
    return str(canonical(kind, number))


def least(kind: str, option: OptionConfig) -> int:
    """The least amount that the option takes."""
    floor = {"gpus": 0, "memory": MEBIBYTE}.get(kind, 1)
    return floor if option.minimum is None else max(floor, option.minimum * unit(kind))


def of_entry(kind: str, entry: str) -> Any:
    """One of an option's `values` (texts) as a canonical value; what is none stays as it is."""
    if kind in {"memory", "walltime"}:
        number = memory_of(entry) if kind == "memory" else walltime_of(entry)
        return entry if number is None else canonical(kind, number)
    return int(entry) if entry.isascii() and entry.isdigit() else entry
