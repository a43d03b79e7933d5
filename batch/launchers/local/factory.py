"""The `local` cluster, put together as the configuration says: servers under the hub's account, or the users' own."""

import os
import pwd
import socket
from typing import Final

from batch.bundle import starter_source
from batch.contract import Launcher, LauncherContext
from batch.launchers.local.kind import LocalConfig
from batch.launchers.local.launcher import LocalLauncher
from state.config.tables import ClusterConfig
from state.errors import ConfigError, Fault
from state.plugins.launchers import options_of

LOOPBACK: Final = "127.0.0.1"
"""Where a job's way in listens. Only gateways of this hub get through it, by their certificates."""


def open_local(cluster: ClusterConfig, context: LauncherContext) -> Launcher:
    """The launcher of this machine. Raises ConfigError for a controller that cannot become its users."""
    local = options_of(cluster)
    assert isinstance(local, LocalConfig)
    if local.run_as != "user":
        return LocalLauncher(cluster.name, context.data_dir.absolute() / "jobs")
    if local.become == "setuid" and os.geteuid() != 0:
        message = 'run_as = "user" needs a controller that runs as root. Run it as root, or set become = "sudo".'
        raise ConfigError([Fault("", f"cluster.{cluster.name}.local.run_as", message)])
    return _open_for_users(cluster.name, local, context)


def _open_for_users(name: str, local: LocalConfig, context: LauncherContext) -> Launcher:
    from batch.launchers.local.account_hosts import AccountHosts  # noqa: PLC0415 - a personal hub does without
    from batch.launchers.local.users_launcher import UsersLauncher  # noqa: PLC0415
    from batch.launchers.ssh.kind import SshConfig, SshHostConfig  # noqa: PLC0415

    host = SshHostConfig(name=name, address=LOOPBACK, max_servers=local.max_servers)
    pool = SshConfig(
        host=(host,),
        monitor_user=_own_name(),
        min_uid=local.min_uid,
        servers_per_user=local.servers_per_user,
        python=local.python,
        folder=local.folder,
        timeout=local.timeout,
    )
    return UsersLauncher(
        name,
        pool,
        AccountHosts(local, pool),
        key=context.seal_key(),
        starter=starter_source(),
        reserve=local.reserve,
        node=socket.gethostname(),
    )


def _own_name() -> str:
    """The hub's own account, which no user's server may have."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
