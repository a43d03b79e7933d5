"""Tables whose options depend on their `kind`, such as `[cluster.<kind>]` in `[[cluster]]`.

The kind, a plug-in, describes its own table.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from state.config.tables import ClusterConfig, HookConfig, ProviderConfig
from state.plugins import authenticators, hooks, launchers
from state.plugins.entry_points import PluginError


def _launcher_options(name: str) -> type[Struct] | None:
    kind = launchers.find_kind(name)
    return None if kind is None else kind.options


def _authenticator_options(name: str) -> type[Struct] | None:
    kind = authenticators.find_kind(name)
    return None if kind is None else kind.options


def _hook_options(name: str) -> type[Struct] | None:
    kind = hooks.find_kind(name)
    return None if kind is None else kind.options


KIND_TABLES: Final[Mapping[type[Struct], Callable[[str], type[Struct] | None]]] = {
    ClusterConfig: _launcher_options,
    ProviderConfig: _authenticator_options,
    HookConfig: _hook_options,
}
"""Struct → from the name of a kind to the Struct of its options; None: there is no such kind."""


_TITLES: Final[Mapping[type[Struct], str]] = {ClusterConfig: "cluster", ProviderConfig: "provider", HookConfig: "hook"}


def options_type(table: type[Struct], raw: Mapping[str, Any]) -> dict[str, type[Struct]] | None:
    """Return the name of the table of options, and its Struct; None: this table has no kinds.

    Empty: the kind is missing, unknown or broken, which is reported elsewhere.
    """
    find = KIND_TABLES.get(table)
    if find is None:
        return None
    name = raw.get("kind")
    try:
        found = find(name) if isinstance(name, str) else None
    except PluginError:
        found = None
    return {} if found is None or not isinstance(name, str) else {name: found}


def other_tables(table: type[Struct], raw: Mapping[str, Any], key: str) -> str:
    """Say that a key is the table of another kind; `""`: it is not."""
    find = KIND_TABLES.get(table)
    if find is None or not isinstance(raw.get(key), Mapping):
        return ""
    try:
        known = find(key) is not None
    except PluginError:
        known = True
    return f"a {_TITLES[table]} of kind {raw.get('kind')} has no such table. Remove it." if known else ""
