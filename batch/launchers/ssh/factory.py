"""The `ssh` cluster, put together: credentials, known hosts, connections, the starter's text."""

from batch.bundle import starter_source
from batch.contract import LauncherContext
from batch.launchers.ssh.hosts import Hosts
from batch.launchers.ssh.launcher import SshLauncher
from batch.ssh.errors import CredentialsError
from batch.ssh.opening import open_connections, open_credentials
from state.config.tables import ClusterConfig
from state.errors import ConfigError, Fault
from state.plugins.launchers import options_of


def open_ssh(cluster: ClusterConfig, context: LauncherContext) -> SshLauncher:
    """The launcher of a pool of SSH hosts. Raises ConfigError for credentials that cannot be used."""
    config = options_of(cluster)
    try:
        credentials = open_credentials(config, context.data_dir)
    except CredentialsError as error:
        raise ConfigError([Fault("", f"cluster.{cluster.name}.ssh.credentials", str(error))]) from error
    connections = open_connections(config.host, config, credentials, connect_seconds=config.timeout)
    return SshLauncher(
        cluster.name,
        config,
        Hosts(config, connections, authority=credentials.authority),
        key=context.seal_key(),
        starter=starter_source(),
    )
