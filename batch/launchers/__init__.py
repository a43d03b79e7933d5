"""The launchers: one module per kind of cluster, found by name.

Owns: which kinds there are (our own, and those of the entry point group `towpath.launchers`). Refuses to know what
a launcher does: that is `batch.contract`.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Final, cast

from batch.contract import Launcher, LauncherContext
from state.config.tables import ClusterConfig
from state.errors import ConfigError, Fault

GROUP: Final = "towpath.launchers"
OWN: Final = {
    "local": ("batch.launchers.local.launcher", "open_local"),
    "slurm": ("batch.launchers.slurm.factory", "open_slurm"),
    "ssh": ("batch.launchers.ssh.factory", "open_ssh"),
}

Opener = Callable[[ClusterConfig, LauncherContext], Launcher]


def kinds() -> list[str]:
    """Every kind of cluster that can be configured here."""
    return sorted({*OWN, *(entry.name for entry in entry_points(group=GROUP))})


def open_launcher(cluster: ClusterConfig, context: LauncherContext) -> Launcher:
    """The launcher of a configured cluster. Raises ConfigError for a kind that nobody brings."""
    if cluster.kind in OWN:
        module, name = OWN[cluster.kind]
        make = cast("Opener", getattr(import_module(module), name))
        return make(cluster, context)
    for entry in entry_points(group=GROUP):
        if entry.name == cluster.kind:
            return cast("Opener", entry.load())(cluster, context)
    fault = f"There is no kind of cluster named {cluster.kind!r}; there are: {', '.join(kinds())}."
    raise ConfigError([Fault("", f"cluster.{cluster.name}.kind", fault)])
