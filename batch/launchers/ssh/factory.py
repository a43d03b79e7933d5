"""The `ssh` cluster, put together: credentials, known hosts, connections, the starter's text."""

import socket
from pathlib import Path
from typing import Final

from batch.authority.authority import authority_folder
from batch.bundle import starter_source
from batch.contract import LauncherContext
from batch.launchers.ssh.hosts import Hosts
from batch.launchers.ssh.kind import SshConfig
from batch.launchers.ssh.launcher import SshLauncher
from batch.ssh.connections import Connections
from batch.ssh.credentials import Agent, CommandCertificates, Credentials, HubCertificates, KeyFile, hub_authority
from batch.ssh.door import Target
from batch.ssh.errors import CredentialsError
from batch.ssh.host_keys import HostKeyFiles
from state.config.tables import ClusterConfig
from state.errors import ConfigError, Fault
from state.plugins.launchers import options_of

COMMAND_SECONDS: Final = 20.0


def open_ssh(cluster: ClusterConfig, context: LauncherContext) -> SshLauncher:
    """The launcher of a pool of SSH hosts. Raises ConfigError for credentials that cannot be used."""
    config = options_of(cluster)
    try:
        credentials = open_credentials(config, context.data_dir)
    except CredentialsError as error:
        raise ConfigError([Fault("", f"cluster.{cluster.name}.ssh.credentials", str(error))]) from error
    targets = {
        host.name: Target(name=host.name, address=host.address or host.name, port=host.port) for host in config.host
    }
    known_hosts = HostKeyFiles([Path(path) for path in config.known_hosts])
    connections = Connections(targets, credentials, known_hosts.read, connect_seconds=config.timeout)
    return SshLauncher(
        cluster.name,
        config,
        Hosts(config, connections, authority=credentials.authority),
        key=context.seal_key(),
        starter=starter_source(),
    )


def open_credentials(config: SshConfig, data_dir: Path) -> Credentials:
    """The way to log in that the configuration names. Raises CredentialsError."""
    if config.credentials == "certificate":
        authority = hub_authority(authority_folder(data_dir))
        return HubCertificates(authority, hub=socket.gethostname(), seconds=config.certificate_seconds)
    if config.credentials == "command":
        return CommandCertificates(
            config.certificate_command, seconds=config.certificate_seconds, timeout=COMMAND_SECONDS
        )
    if config.credentials == "key":
        return KeyFile(Path(config.key_file))
    return Agent(config.agent_socket)
