"""The kind `ssh`: a pool of hosts without a scheduler, and the table that names them and says how to log in."""

import re
from typing import Annotated, Final

from msgspec import Meta, Struct

from state.config.urls import PLAIN_PATH
from state.offer.option_kinds import KINDS
from state.plugins.launchers import LauncherKind
from state.plugins.options import Say

SAFE_PATH: Final = re.compile(r"/[A-Za-z0-9/._+-]*")


class SshHostConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[cluster.ssh.host]]`: a machine of the pool."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", max_length=253)]
    """Its name in known_hosts and for users."""
    address: str = ""
    """The address that the hub connects to. Empty: its name."""
    port: Annotated[int, Meta(ge=1, le=65535)] = 22
    max_servers: Annotated[int, Meta(ge=0)] = 0
    """How many servers may run on it at once; 0: no limit."""


class SshConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[cluster.ssh]`: hosts without a scheduler."""

    host: tuple[SshHostConfig, ...] = ()
    known_hosts: tuple[str, ...] = ("/etc/ssh/ssh_known_hosts",)
    """Files with the host keys or host authorities (`@cert-authority`) to trust. No other host is trusted."""
    credentials: str = "certificate"
    """How the hub logs in: `certificate` (from its own SSH authority), `command`, `key` or `agent`."""
    certificate_command: tuple[str, ...] = ()
    """With `command`: a program and its arguments. It gets a public key on standard input and prints a certificate."""
    certificate_seconds: Annotated[int, Meta(ge=30, le=86400)] = 300
    """Seconds for which a certificate can be used to log in. Connections outlive it."""
    key_file: str = ""
    """With `key`: a private key that all accounts accept (0600)."""
    agent_socket: str = ""
    """With `agent`: the socket of an SSH agent."""
    monitor_user: Annotated[str, Meta(pattern=r"^[a-z_][a-z0-9_.-]*$", max_length=32)] = "towpath"
    """The account with which the hub reads load and processes. It needs no rights and no home."""
    min_uid: Annotated[int, Meta(ge=1)] = 1000
    """Accounts with a smaller user id are system accounts and cannot have servers."""
    servers_per_user: Annotated[int, Meta(ge=0)] = 0
    """How many servers of one user may run on the pool at once; 0: no limit."""
    way_in: str = "direct"
    """How gateways reach an app: `direct` (mutual TLS to the starter, on a port of the host)."""
    python: str = "/usr/bin/python3"
    """The interpreter (3.6 or newer) on the hosts."""
    folder: str = "~/.towpath"
    """The folder for a job's files on the host."""
    timeout: Annotated[float, Meta(gt=0, le=300)] = 20.0
    """Seconds to wait for a connection, and for each command."""


def check(ssh: SshConfig, at: str, say: Say) -> None:
    """Check the hosts, and that the credentials are complete."""
    names = [host.name for host in ssh.host]
    if not names:
        say(f"{at}.host", "there must be at least one [[cluster.ssh.host]].")
    if "any" in names:
        say(f"{at}.host", "a host cannot have the name any, which stands for the host with the most room.")
    for name in sorted({name for name in names if names.count(name) > 1}):
        say(f"{at}.host", f"the name {name!r} is used twice.")
    needed = {"certificate": "", "command": "certificate_command", "key": "key_file", "agent": "agent_socket"}
    if ssh.credentials not in needed:
        say(f"{at}.credentials", f"{ssh.credentials!r} is not a kind of credentials. Use one of: {', '.join(needed)}.")
        return
    for way, key in needed.items():
        if key and way == ssh.credentials and not getattr(ssh, key):
            say(f"{at}.{key}", f"credentials = {way} needs this. Set it.")
        if key and way != ssh.credentials and getattr(ssh, key):
            say(f"{at}.{key}", f"credentials = {ssh.credentials} does not use this. Remove it.")
    if ssh.way_in != "direct":
        say(f"{at}.way_in", f"{ssh.way_in!r} is not supported. Use direct.")
    _ssh_paths(ssh, at, say)


def _ssh_paths(ssh: SshConfig, at: str, say: Say) -> None:
    paths = [("python", ssh.python), ("key_file", ssh.key_file), ("agent_socket", ssh.agent_socket)]
    paths += [("known_hosts", path) for path in ssh.known_hosts]
    paths += [("certificate_command", path) for path in ssh.certificate_command[:1]]
    for key, value in paths:
        if value and not PLAIN_PATH.fullmatch(value):
            say(f"{at}.{key}", f"{value!r} must be an absolute path.")
    if not SAFE_PATH.fullmatch(ssh.python):
        say(f"{at}.python", "the path can have letters, digits and the characters / . _ + - only.")
    if not PLAIN_PATH.fullmatch(ssh.folder.removeprefix("~")) or ssh.folder in ("/", "~/"):
        say(f"{at}.folder", "this must be an absolute path, or begin with ~/ (the home of the job's user).")


KIND: Final = LauncherKind(
    name="ssh",
    open="batch.launchers.ssh.factory:open_ssh",
    options=SshConfig,
    check=check,
    endpoints=frozenset({"tls"}),
    option_kinds=frozenset(KINDS),
)
