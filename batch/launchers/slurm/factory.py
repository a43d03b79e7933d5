"""Builds the launcher of a `slurm` cluster from its client, the seal's key and the starter's text.

Owns which client a configuration selects. Does not know what the parts do.
"""

import os
from importlib import import_module
from pathlib import Path
from typing import Final, cast

from batch.bundle import starter_source
from batch.contract import LauncherContext, LauncherError
from batch.launchers.slurm.catalog.gather import Gatherer
from batch.launchers.slurm.client import Client
from batch.launchers.slurm.clients.cli import CliClient
from batch.launchers.slurm.clients.login_node_groups import LoginNodeGroups
from batch.launchers.slurm.clients.login_nodes import LoginNodes
from batch.launchers.slurm.kind import SlurmConfig
from batch.launchers.slurm.launcher import SlurmLauncher
from batch.ssh.errors import CredentialsError
from batch.ssh.opening import open_connections, open_credentials
from state.config.tables import ClusterConfig
from state.errors import ConfigError, Fault
from state.plugins.launchers import options_of

CLIENTS: Final = {
    "cli": "batch.launchers.slurm.clients.cli",
    "rest": "batch.launchers.slurm.clients.rest",
    "pyslurm": "batch.launchers.slurm.clients.pyslurm",
}
LONGEST_BACK_OFF: Final = 10.0
"""Seconds after which a login node that failed is tried again, at the latest. Users wait while none answers."""


def open_slurm(cluster: ClusterConfig, context: LauncherContext) -> SlurmLauncher:
    """Return the launcher of a Slurm cluster. Raises ConfigError for what this machine lacks."""
    at = f"cluster.{cluster.name}.slurm"
    config = options_of(cluster)
    if config.client == "cli" and config.submit_as == "setuid" and os.geteuid() != 0:
        message = "setuid needs a controller that runs as root; or set submit_as = sudo, or client = rest."
        raise ConfigError([Fault("", f"{at}.submit_as", message)])
    nodes: LoginNodes | None = None
    try:
        if config.client == "ssh":
            nodes = open_login_nodes(config, context.data_dir)
        client = open_client(config, nodes)
    except CredentialsError as error:
        raise ConfigError([Fault("", f"{at}.ssh.credentials", str(error))]) from error
    except LauncherError as error:
        raise ConfigError([Fault("", at, f"{error} {error.hint}")]) from error
    groups = LoginNodeGroups(nodes.groups) if nodes is not None else None
    return SlurmLauncher(
        cluster.name,
        config,
        client,
        key=context.seal_key(),
        starter=starter_source(),
        offer=Gatherer(cluster.name, client.source(), groups).gather,
        nodes=nodes,
    )


def open_client(config: SlurmConfig, nodes: "LoginNodes | None" = None) -> Client:
    """The client that the configuration names. `nodes`: for the client `ssh`."""
    if nodes is not None:
        return CliClient(nodes)
    return cast("Client", import_module(CLIENTS[config.client]).open_client(config))


def open_login_nodes(config: SlurmConfig, data_dir: Path) -> LoginNodes:
    """The login nodes of the configuration; no connection is made yet. Raises CredentialsError."""
    credentials = open_credentials(config.ssh, data_dir)
    connections = open_connections(
        config.ssh.login_node,
        config.ssh,
        credentials,
        connect_seconds=config.ssh.connect_seconds,
        longest_back_off=LONGEST_BACK_OFF,
    )
    return LoginNodes(config, connections, authority=credentials.authority)
