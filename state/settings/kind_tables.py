"""Tables whose options depend on their `kind`: `[cluster.<kind>]` in `[[cluster]]`. The kind describes its table."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from state.config.tables import ClusterConfig
from state.plugins import launchers
from state.plugins.entry_points import PluginError


def _launcher_options(name: str) -> type[Struct] | None:
    kind = launchers.find_kind(name)
    return None if kind is None else kind.options


KIND_TABLES: Final[Mapping[type[Struct], Callable[[str], type[Struct] | None]]] = {ClusterConfig: _launcher_options}
"""Struct → from the name of a kind to the Struct of its options; None: there is no such kind."""


def options_type(table: type[Struct], raw: Mapping[str, Any]) -> dict[str, type[Struct]] | None:
    """Return the name of the table of options, and its Struct; None: this table has no kinds.

    Empty: the kind is missing, unknown or broken, which is said elsewhere.
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
    at = "cluster" if table is ClusterConfig else "auth.provider"
    what = "cluster" if table is ClusterConfig else "provider"
    return f"a {what} of kind {raw.get('kind')} has no table [{at}.{key}]." if known else ""
