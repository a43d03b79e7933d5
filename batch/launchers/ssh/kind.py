"""The kind `ssh`: a pool of hosts without a scheduler, and the table that names them and says how to log in."""

from typing import Annotated, Final

from msgspec import Meta

from batch.ssh.settings import SshAddressConfig, SshLoginConfig, check_addresses, check_login, check_python
from state.config.urls import PLAIN_PATH
from state.offer.option_kinds import KINDS
from state.plugins.launchers import LauncherKind
from state.plugins.options import Say


class SshHostConfig(SshAddressConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[cluster.ssh.host]]`: a machine of the pool."""

    max_servers: Annotated[int, Meta(ge=0)] = 0
    """How many servers may run on it at once; 0: no limit."""


class SshJumpConfig(SshAddressConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[cluster.ssh.jump]`: a host through which all others are reached."""

    user: Annotated[str, Meta(pattern=r"^([a-z_][a-z0-9_.-]*)?$", max_length=32)] = ""
    """The account there, of which nothing but forwarding is needed. Empty: the same as on the host."""


class SshConfig(SshLoginConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[cluster.ssh]`: hosts without a scheduler."""

    host: tuple[SshHostConfig, ...] = ()
    jump: SshJumpConfig | None = None
    min_uid: Annotated[int, Meta(ge=1)] = 1000
    """Accounts with a smaller user id are system accounts and cannot have servers."""
    servers_per_user: Annotated[int, Meta(ge=0)] = 0
    """How many servers of one user may run on the pool at once; 0: no limit."""
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
    check_addresses(ssh.host, f"{at}.host", say)
    check_login(ssh, at, say)
    check_python(ssh.python, f"{at}.python", say)
    if not PLAIN_PATH.fullmatch(ssh.folder.removeprefix("~")) or ssh.folder in ("/", "~/"):
        say(f"{at}.folder", "this must be an absolute path, or begin with ~/ (the home of the job's user).")


KIND: Final = LauncherKind(
    name="ssh",
    open="batch.launchers.ssh.factory:open_ssh",
    options=SshConfig,
    check=check,
    endpoints=frozenset({"tls", "ssh-socket", "reverse"}),
    option_kinds=frozenset(KINDS),
)
