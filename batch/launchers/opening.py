"""Opens the launcher of a configured cluster."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

from batch.contract import Launcher, LauncherContext
from state.config.tables import ClusterConfig
from state.errors import ConfigError, Fault
from state.plugins.entry_points import PluginError
from state.plugins.launchers import kind_of

Opener = Callable[[ClusterConfig, LauncherContext], Launcher]


def open_launcher(cluster: ClusterConfig, context: LauncherContext) -> Launcher:
    """Return the launcher of a cluster. Raises ConfigError for a kind that no package brings, or that is broken."""
    try:
        opener = cast("Opener", load_named(kind_of(cluster).open))
    except PluginError as error:
        raise ConfigError([Fault("", f"cluster.{cluster.name}.kind", str(error))]) from error
    return opener(cluster, context)


def load_named(name: str) -> Any:
    """Return what `MODULE:NAME` stands for. Raises PluginError."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise PluginError(f"{name} cannot be loaded: {error}") from error
