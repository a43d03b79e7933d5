"""Hooks, described: what a site or another package does before a submit, when a server is ready, and after its end.

A package brings a kind of hook under the entry point group `towpath.hooks`, with the kind as its name and a `HookKind`
as its value. The controller alone runs hooks, each run as a process of its own (`batch.hooks`, docs/plug-ins.md).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from msgspec import Struct

from state.config.tables import HookConfig
from state.plugins.entry_points import PluginError, load, names
from state.plugins.options import NoOptions, Say, no_faults

GROUP: Final = "towpath.hooks"
BEFORE_SUBMIT: Final = "before-submit"
READY: Final = "ready"
ENDED: Final = "ended"
EVENTS: Final = (BEFORE_SUBMIT, READY, ENDED)

Commands = Callable[[Any, str], list[tuple[str, ...]]]


@dataclass(frozen=True, kw_only=True)
class HookKind:
    """The description of a kind of hook, available without running it. One of `run` and `commands` is set."""

    name: str
    run: str = ""
    """`MODULE:FUNCTION`, called in a process of its own: `(options, HookEvent) -> HookChanges | None`."""
    commands: Commands | None = None
    """Instead of `run`: `(options, event)` → the commands to run, in order. Raises OSError."""
    events: frozenset[str] = frozenset(EVENTS)
    """The events that it has something to do at."""
    options: type[Struct] = NoOptions
    """The table `[hook.<kind>]`: a frozen Struct, checked with the rest of the configuration."""
    check: Callable[[Any, str, Say], None] = no_faults
    """Faults of the options that a type cannot express: `(options, key of the table, say)`. Pure."""


def kind_names() -> list[str]:
    """Return the names of all kinds of hook that can be configured here."""
    return names(GROUP)


def find_kind(name: str) -> HookKind | None:
    """Return the kind of this name, or None. Raises PluginError when it cannot be loaded."""
    found = load(GROUP, name)
    if found is None:
        return None
    if not isinstance(found, HookKind) or found.name != name or bool(found.run) == bool(found.commands):
        raise PluginError(f"The plug-in {name!r} of the group {GROUP} is not a HookKind of that name.")
    return found


def kind_of(hook: HookConfig) -> HookKind:
    """Return the kind of a configured hook. Raises PluginError when no package brings it."""
    found = find_kind(hook.kind)
    if found is None:
        raise PluginError(f"There is no kind of hook named {hook.kind!r}; there is: {', '.join(kind_names())}.")
    return found


def options_of(hook: HookConfig) -> Any:
    """Return the hook's own options, or their defaults where the configuration has none."""
    return kind_of(hook).options() if hook.options is None else hook.options
