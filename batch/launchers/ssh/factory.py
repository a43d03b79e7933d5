"""The `ssh` cluster, put together: credentials, known hosts, connections, the starter's text."""

from pathlib import Path
from typing import Final

from batch.bundle import starter_source
from batch.contract import LauncherContext
from batch.launchers.ssh.hosts import Hosts
from batch.launchers.ssh.launcher import SshLauncher
from batch.launchers.ssh.passes import PassMaker
from batch.ssh.connections import Jump
from batch.ssh.credentials import NO_CERTIFICATES
from batch.ssh.door import Target
from batch.ssh.errors import CredentialsError
from batch.ssh.host_keys import HostKeyFiles
from batch.ssh.opening import open_connections, open_credentials
from state.config.tables import ClusterConfig
from state.errors import ConfigError, Fault
from state.plugins.launchers import endpoints_of, options_of

WITH_CERTIFICATES: Final = ("certificate", "command")


def open_ssh(cluster: ClusterConfig, context: LauncherContext) -> SshLauncher:
    """The launcher of a pool of SSH hosts. Raises ConfigError for credentials that cannot be used."""
    config = options_of(cluster)
    try:
        credentials = open_credentials(config, context.data_dir)
    except CredentialsError as error:
        raise ConfigError([Fault("", f"cluster.{cluster.name}.ssh.credentials", str(error))]) from error
    endpoints = endpoints_of(cluster)
    if "ssh-socket" in endpoints and config.credentials not in WITH_CERTIFICATES:
        raise ConfigError([Fault("", f"cluster.{cluster.name}.ssh.credentials", NO_CERTIFICATES)])
    known_hosts = HostKeyFiles([Path(path) for path in config.known_hosts])
    jump = None
    if (given := config.jump) is not None:
        target = Target(name=given.name, address=given.address or given.name, port=given.port)
        jump = Jump(target=target, user=given.user)
    connections = open_connections(config.host, config, credentials, connect_seconds=config.timeout, jump=jump)
    return SshLauncher(
        cluster.name,
        config,
        Hosts(config, connections, authority=credentials.authority, by_ssh="ssh-socket" in endpoints),
        key=context.seal_key(),
        starter=starter_source(),
        endpoints=endpoints,
        passes=PassMaker(config, credentials, known_hosts.read) if "ssh-socket" in endpoints else None,
    )
