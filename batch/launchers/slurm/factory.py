"""Builds the launcher of a `slurm` cluster from its client, the seal's key and the starter's text.

Owns which client a configuration selects. Does not know what the parts do.
"""

import os
from importlib import import_module
from typing import Final, cast

from batch.bundle import starter_source
from batch.contract import LauncherContext, LauncherError
from batch.launchers.slurm.catalog.gather import Gatherer
from batch.launchers.slurm.catalog.groups import GroupLookup
from batch.launchers.slurm.client import Client, LoginSite
from batch.launchers.slurm.kind import SlurmConfig
from batch.launchers.slurm.launcher import SlurmLauncher
from batch.ssh.errors import CredentialsError
from state.config.tables import ClusterConfig
from state.errors import ConfigError, Fault
from state.plugins.launchers import options_of

CLIENTS: Final = {
    "cli": "batch.launchers.slurm.clients.cli",
    "rest": "batch.launchers.slurm.clients.rest",
    "pyslurm": "batch.launchers.slurm.clients.pyslurm",
}


def open_slurm(cluster: ClusterConfig, context: LauncherContext) -> SlurmLauncher:
    """Return the launcher of a Slurm cluster. Raises ConfigError for what this machine lacks."""
    at = f"cluster.{cluster.name}.slurm"
    config = options_of(cluster)
    if config.client == "cli" and config.submit_as == "setuid" and os.geteuid() != 0:
        message = "setuid needs a controller that runs as root; or set submit_as = sudo, or client = rest."
        raise ConfigError([Fault("", f"{at}.submit_as", message)])
    client: Client
    nodes: LoginSite | None = None
    groups: GroupLookup | None = None
    try:
        if config.client == "ssh":
            from batch.launchers.slurm.clients.ssh import open_over_ssh  # noqa: PLC0415 - asyncssh takes 0.2 s

            client, nodes, groups = open_over_ssh(config, context.data_dir)
        else:
            client = open_client(config)
    except CredentialsError as error:
        raise ConfigError([Fault("", f"{at}.ssh.credentials", str(error))]) from error
    except LauncherError as error:
        raise ConfigError([Fault("", at, f"{error} {error.hint}")]) from error
    return SlurmLauncher(
        cluster.name,
        config,
        client,
        key=context.seal_key(),
        starter=starter_source(),
        offer=Gatherer(cluster.name, client.source(), groups).gather,
        nodes=nodes,
    )


def open_client(config: SlurmConfig) -> Client:
    """The client on this machine that the configuration names."""
    return cast("Client", import_module(CLIENTS[config.client]).open_client(config))
