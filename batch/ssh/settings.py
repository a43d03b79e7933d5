"""The keys of the configuration that say which hosts there are, whom the hub trusts, and how it logs in.

Cheap to import: gateways read it too.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Final

from msgspec import Meta, Struct

from state.config.urls import PLAIN_PATH
from state.plugins.options import Say

SAFE_PATH: Final = re.compile(r"/[A-Za-z0-9/._+-]*")
CREDENTIALS: Final = {
    "certificate": "",
    "command": "certificate_command",
    "key": "key_file",
    "agent": "agent_socket",
}
"""A kind of credentials → the key that it needs."""


class SshAddressConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A machine with an sshd."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", max_length=253)]
    """Its name in known_hosts and for users."""
    address: str = ""
    """The address that the hub connects to. Empty: its name."""
    port: Annotated[int, Meta(ge=1, le=65535)] = 22


class SshLoginConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which host keys are trusted, and how the hub logs in."""

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
    """The account with which the hub looks at all jobs. It needs no home."""


def check_addresses(hosts: Sequence[SshAddressConfig], at: str, say: Say) -> None:
    """Report hosts that have the same name."""
    names = [host.name for host in hosts]
    for name in sorted({name for name in names if names.count(name) > 1}):
        say(at, f"the name {name!r} is used twice.")


def check_login(login: SshLoginConfig, at: str, say: Say) -> None:
    """Report credentials that are not complete, and paths that are none."""
    if login.credentials not in CREDENTIALS:
        known = ", ".join(CREDENTIALS)
        say(f"{at}.credentials", f"{login.credentials!r} is not a kind of credentials. Use one of: {known}.")
        return
    for way, key in CREDENTIALS.items():
        if key and way == login.credentials and not getattr(login, key):
            say(f"{at}.{key}", f"credentials = {way} needs this. Set it.")
        if key and way != login.credentials and getattr(login, key):
            say(f"{at}.{key}", f"credentials = {login.credentials} does not use this. Remove it.")
    paths = [("key_file", login.key_file), ("agent_socket", login.agent_socket)]
    paths += [("known_hosts", path) for path in login.known_hosts]
    paths += [("certificate_command", path) for path in login.certificate_command[:1]]
    for key, value in paths:
        if value and not PLAIN_PATH.fullmatch(value):
            say(f"{at}.{key}", f"{value!r} must be an absolute path.")


def check_python(python: str, at: str, say: Say) -> None:
    """Report an interpreter that cannot be named in a command line for every login shell."""
    if not PLAIN_PATH.fullmatch(python):
        say(at, f"{python!r} must be an absolute path.")
    elif not SAFE_PATH.fullmatch(python):
        say(at, "the path can have letters, digits and the characters / . _ + - only.")
