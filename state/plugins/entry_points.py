"""Entry points by group and name. Towpath's own are looked up first, so that most starts scan no other package."""

from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points
from typing import Any, Final

from state.errors import TowpathError

DISTRIBUTION: Final = "towpath"


class PluginError(TowpathError):
    """A plug-in cannot be loaded, or is not what its entry point says: a sentence for the admin."""


def names(group: str) -> list[str]:
    """Return the names of all plug-ins of a group, sorted. Scans every installed package."""
    return sorted({*_own(group), *(entry.name for entry in entry_points(group=group))})


@cache
def load(group: str, name: str) -> Any:
    """Return what the entry point names; None: no package brings one. Raises PluginError."""
    entry = _own(group).get(name) or _other(group, name)
    if entry is None:
        return None
    try:
        return entry.load()
    except Exception as error:  # a plug-in may fail in any way when it is imported
        brought = f" (of {entry.dist.name})" if entry.dist is not None else ""
        raise PluginError(f"The plug-in {name!r}{brought} cannot be loaded: {type(error).__name__}: {error}") from error


@cache
def _own(group: str) -> dict[str, EntryPoint]:
    try:
        own = distribution(DISTRIBUTION).entry_points
    except PackageNotFoundError:
        return {}
    return {entry.name: entry for entry in own.select(group=group)}


def _other(group: str, name: str) -> EntryPoint | None:
    found = list(entry_points(group=group, name=name))
    if len({entry.value for entry in found}) > 1:
        brought = ", ".join(sorted(entry.dist.name for entry in found if entry.dist is not None))
        raise PluginError(f"Several packages bring a plug-in {name!r}: {brought}. Remove all but one.")
    return found[0] if found else None
