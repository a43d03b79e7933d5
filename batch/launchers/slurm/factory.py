"""The `slurm` cluster, put together: a client for the way that Slurm is spoken to, the seal's key, the starter's text.

Owns: which client a configuration means. Refuses to know what they do.
"""

import os
from importlib import import_module
from typing import Final, cast

from batch.bundle import starter_source
from batch.contract import LauncherContext, LauncherError
from batch.launchers.slurm import grammar
from batch.launchers.slurm.client import Client
from batch.launchers.slurm.gather import Gatherer
from batch.launchers.slurm.launcher import SlurmLauncher
from state.config.tables import ClusterConfig, Config, SlurmConfig
from state.errors import ConfigError, Fault

CLIENTS: Final = {
    "cli": "batch.launchers.slurm.cli",
    "rest": "batch.launchers.slurm.rest",
    "pyslurm": "batch.launchers.slurm.pyslurm",
}


def open_slurm(cluster: ClusterConfig, context: LauncherContext) -> SlurmLauncher:
    """The launcher of a Slurm cluster. Raises ConfigError for what this machine lacks."""
    at = f"cluster.{cluster.name}.slurm"
    if cluster.slurm.client == "cli" and cluster.slurm.submit_as == "setuid" and os.geteuid() != 0:
        words = "setuid needs a controller that runs as root; or set submit_as = sudo, or client = rest."
        raise ConfigError([Fault("", f"{at}.submit_as", words)])
    try:
        client = open_client(cluster.slurm)
    except LauncherError as error:
        raise ConfigError([Fault("", at, f"{error} {error.hint}")]) from error
    return SlurmLauncher(
        cluster.name,
        cluster.slurm,
        client,
        key=context.seal_key(),
        starter=starter_source(),
        offer=Gatherer(cluster.name, client.source()).gather,
    )


def option_faults(config: Config) -> list[Fault]:
    """What is wrong with the further options of sbatch that profiles name."""
    found = []
    kinds = {cluster.name: cluster.kind for cluster in config.cluster}
    for number, profile in enumerate(config.profile, 1):
        for name, value in profile.resources.sbatch.items() if kinds.get(profile.cluster) == "slurm" else ():
            try:
                grammar.further(name, value)
            except LauncherError as error:
                found.append(Fault("", f"profile[{number}].resources.sbatch.{name}", f"{error} {error.hint}"))
    return found


def open_client(config: SlurmConfig) -> Client:
    """The client that the configuration names."""
    return cast("Client", import_module(CLIENTS[config.client]).open_client(config))
