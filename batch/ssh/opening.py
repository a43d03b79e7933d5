"""Connections and credentials as a configuration names them."""

import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from batch.authority.authority import authority_folder
from batch.ssh.connections import LONGEST_BACK_OFF, Connections, Jump
from batch.ssh.credentials import Agent, CommandCertificates, Credentials, HubCertificates, KeyFile, hub_authority
from batch.ssh.door import Target
from batch.ssh.host_keys import HostKeyFiles
from batch.ssh.settings import SshAddressConfig, SshLoginConfig

COMMAND_SECONDS: Final = 20.0


def open_credentials(login: SshLoginConfig, data_dir: Path) -> Credentials:
    """The way to log in that the configuration names. Raises CredentialsError."""
    if login.credentials == "certificate":
        authority = hub_authority(authority_folder(data_dir))
        return HubCertificates(authority, hub=socket.gethostname(), seconds=login.certificate_seconds)
    if login.credentials == "command":
        return CommandCertificates(
            login.certificate_command, seconds=login.certificate_seconds, timeout=COMMAND_SECONDS
        )
    if login.credentials == "key":
        return KeyFile(Path(login.key_file))
    return Agent(login.agent_socket)


def open_connections(
    hosts: Iterable[SshAddressConfig],
    login: SshLoginConfig,
    credentials: Credentials,
    *,
    connect_seconds: float,
    longest_back_off: float = LONGEST_BACK_OFF,
    jump: Jump | None = None,
) -> Connections:
    """Connections to these hosts; none is opened yet."""
    targets = {host.name: Target(name=host.name, address=host.address or host.name, port=host.port) for host in hosts}
    known_hosts = HostKeyFiles([Path(path) for path in login.known_hosts])
    return Connections(
        targets,
        credentials,
        known_hosts.read,
        connect_seconds=connect_seconds,
        longest_back_off=longest_back_off,
        jump=jump,
    )
