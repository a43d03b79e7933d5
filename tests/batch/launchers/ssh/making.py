"""Launchers of kind `ssh` on the tests' hosts."""

import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from batch.authority.ssh import SSH_USER_CA, ensure_ssh_authority
from batch.bundle import starter_source
from batch.launchers.ssh.hosts import Hosts
from batch.launchers.ssh.kind import SshConfig, SshHostConfig
from batch.launchers.ssh.launcher import SshLauncher
from batch.ssh.connections import Connections
from batch.ssh.credentials import HubCertificates
from batch.ssh.door import Target
from batch.ssh.host_keys import HostKeyFiles
from batch.ssh.keys import Authority
from tests import sshd
from tests.sshd import MONITOR, Pool


def new_authority() -> bytes:
    """The private key of another SSH authority."""
    with tempfile.TemporaryDirectory() as folder:
        ensure_ssh_authority(Path(folder))
        return (Path(folder) / SSH_USER_CA).read_bytes()


AUTHORITY = new_authority()
SEAL_KEY = secrets.token_bytes(32)


def running_pool(names: tuple[str, ...] = ("gpu1", "gpu2")) -> Iterator[Pool]:
    """A pool whose hosts trust AUTHORITY."""
    with sshd.running(names) as pool:
        pool.trust(Authority(AUTHORITY).public_line)
        yield pool


def config_of(pool: Pool, **more: Any) -> SshConfig:
    """The configuration of a cluster with all hosts of a pool."""
    hosts = tuple(SshHostConfig(name=host.name, address=host.address, port=host.port) for host in pool.hosts.values())
    facts = {"host": hosts, "known_hosts": (str(pool.known_hosts),), "monitor_user": MONITOR, "timeout": 10.0}
    return SshConfig(**{**facts, **more})


def connections_of(pool: Pool, config: SshConfig, **more: Any) -> Connections:
    """Connections to a pool's hosts, by certificates of AUTHORITY."""
    targets = {host.name: Target(name=host.name, address=host.address, port=host.port) for host in config.host}
    credentials = more.pop("credentials", None) or HubCertificates(Authority(AUTHORITY), hub="tests", seconds=120)
    files = HostKeyFiles([Path(path) for path in config.known_hosts])
    return Connections(targets, credentials, files.read, connect_seconds=config.timeout, **more)


def launcher_of(pool: Pool, config: SshConfig | None = None, **more: Any) -> SshLauncher:
    """A launcher with connections and a memory of its own."""
    config = config or config_of(pool)
    own = {name: more.pop(name) for name in ("endpoints", "passes") if name in more}
    hosts = Hosts(config, connections_of(pool, config, **more), authority=Authority(AUTHORITY).public_line)
    return SshLauncher("lab", config, hosts, key=SEAL_KEY, starter=starter_source(), **own)


def ssh_maker(pool: Pool) -> Callable[[], SshLauncher]:
    """Makes launchers of one pool."""
    return lambda: launcher_of(pool)
