"""The client `ssh`, put together: the commands of the client `cli` on login nodes."""

from pathlib import Path
from typing import Final

from batch.launchers.slurm.clients.cli import CliClient
from batch.launchers.slurm.clients.login_node_groups import LoginNodeGroups
from batch.launchers.slurm.clients.login_nodes import LoginNodes
from batch.launchers.slurm.kind import SlurmConfig
from batch.ssh.credentials import Credentials
from batch.ssh.opening import open_connections, open_credentials

LONGEST_BACK_OFF: Final = 10.0
"""Seconds after which a login node that failed is tried again, at the latest. Users wait while none answers."""


def open_over_ssh(
    config: SlurmConfig, data_dir: Path, credentials: Credentials | None = None
) -> tuple[CliClient, LoginNodes, LoginNodeGroups]:
    """The client, the login nodes that it uses, and their groups. No connection is made yet. Raises CredentialsError.

    `credentials`: instead of those that the configuration names.
    """
    credentials = credentials or open_credentials(config.ssh, data_dir)
    connections = open_connections(
        config.ssh.login_node,
        config.ssh,
        credentials,
        connect_seconds=config.ssh.connect_seconds,
        longest_back_off=LONGEST_BACK_OFF,
    )
    nodes = LoginNodes(config, connections, authority=credentials.authority)
    return CliClient(nodes), nodes, LoginNodeGroups(nodes.groups)
