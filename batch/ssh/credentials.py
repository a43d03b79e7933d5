"""How the hub proves to a host that it may act as an account.

Owns the four methods: certificates of the hub's own authority, certificates that a command of the site prints, a key
file, an agent. A certificate is for one account and a few minutes; its private key exists in memory only.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from batch.authority.ssh import SSH_USER_CA
from batch.processes import close_pipes, kill_group
from batch.ssh.errors import CredentialsError
from batch.ssh.keys import Authority, FreshKey, Login, login_with_agent, login_with_key
from state.sealing.private_files import PrivateFileError, is_private_file

log = logging.getLogger("towpath.ssh")

MAX_CERTIFICATE: Final = 64 * 1024
NO_CERTIFICATES: Final = "Gateways need certificates for the way in ssh: set credentials to certificate or command."
COMMAND_PATH: Final = "/usr/local/bin:/usr/bin:/bin"


class Credentials(Protocol):
    """One method to log in."""

    @property
    def authority(self) -> str:
        """The public key of the hub's own authority, which hosts must trust; `""`: they trust something else."""
        ...

    async def login(self, account: str, *, forwarding: bool = False) -> Login:
        """Return the credentials of a new connection as this account. Raises CredentialsError.

        `forwarding`: the connection is for others that are made through it, and for nothing else.
        """
        ...

    async def forwarding(self, public_line: str, account: str, *, seconds: int) -> str:
        """Return a certificate for another's key, with which it can forward as this account and do nothing else.

        Raises CredentialsError, also where this way to log in has no certificates.
        """
        ...


class HubCertificates:
    """Certificates of the hub's own authority."""

    def __init__(self, authority: Authority, *, hub: str, seconds: int, clock: Callable[[], float] = time.time) -> None:
        """`hub`: its name in the certificates' ids, which sshd logs. `seconds`: how long a certificate is valid."""
        self._authority = authority
        self.authority = authority.public_line
        self._hub = hub
        self._seconds = seconds
        self._clock = clock

    async def login(self, account: str, *, forwarding: bool = False) -> Login:
        """See the Protocol."""
        key = FreshKey()
        text = self._sign(key.public_line, account, seconds=self._seconds, forwarding=forwarding)
        return key.login(text, account)

    async def forwarding(self, public_line: str, account: str, *, seconds: int) -> str:
        """See the Protocol."""
        return self._sign(public_line, account, seconds=seconds, forwarding=True)

    def _sign(self, public_line: str, account: str, *, seconds: int, forwarding: bool) -> str:
        key_id = f"towpath {self._hub} {account} {'forwarding ' * forwarding}{secrets.token_hex(4)}"
        return self._authority.sign(
            public_line, account, key_id=key_id, now=self._clock(), seconds=seconds, forwarding=forwarding
        )


class CommandCertificates:
    """Certificates that a command prints, which gets the public key on its standard input.

    The command finds the account in TOWPATH_SSH_ACCOUNT, the requested lifetime in TOWPATH_SSH_SECONDS, and in
    TOWPATH_SSH_PURPOSE `login` (commands alone) or `forwarding` (forwarding alone, for a gateway's key). Its argv is
    fixed and goes through no shell.
    """

    authority = ""

    def __init__(
        self, argv: Sequence[str], *, seconds: int, timeout: float, environment: Mapping[str, str] | None = None
    ) -> None:
        """`timeout`: seconds that the command may take. `environment`: further variables for it."""
        self._argv = tuple(argv)
        self._seconds = seconds
        self._timeout = timeout
        self._environment = dict(environment or {})

    async def login(self, account: str, *, forwarding: bool = False) -> Login:
        """See the Protocol."""
        key = FreshKey()
        purpose = "forwarding" if forwarding else "login"
        return key.login(await self._ask(key.public_line, account, purpose, self._seconds), account)

    async def forwarding(self, public_line: str, account: str, *, seconds: int) -> str:
        """See the Protocol."""
        return (await self._ask(public_line, account, "forwarding", seconds)).strip()

    async def _ask(self, public_line: str, account: str, purpose: str, seconds: int) -> str:
        environment = {
            "PATH": COMMAND_PATH,
            "LANG": "C.UTF-8",
            **self._environment,
            "TOWPATH_SSH_ACCOUNT": account,
            "TOWPATH_SSH_SECONDS": str(seconds),
            "TOWPATH_SSH_PURPOSE": purpose,
        }
        try:
            process = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=environment,
                cwd="/",
                start_new_session=True,
                limit=MAX_CERTIFICATE,
            )
        except OSError as error:
            message = f"The command for SSH certificates cannot be run: {error.strerror or error}."
            raise CredentialsError(message) from error
        talk = asyncio.ensure_future(process.communicate(public_line.encode() + b"\n"))
        try:
            out, err = await asyncio.wait_for(asyncio.shield(talk), self._timeout)
        except TimeoutError:
            message = f"The command for SSH certificates did not answer within {self._timeout:.0f} seconds."
            raise CredentialsError(message, transient=True) from None
        finally:
            if not talk.done():
                kill_group(process)
                await asyncio.wait([talk], timeout=2)
                close_pipes(process)
        if process.returncode != 0:
            printed = err.decode(errors="replace").strip()
            log.error(
                "The command for SSH certificates failed. account=%s code=%s said=%r",
                account, process.returncode, printed[-500:],
            )  # fmt: skip
            message = f"The command for SSH certificates failed (exit code {process.returncode})."
            raise CredentialsError(message, transient=True)
        return out[:MAX_CERTIFICATE].decode(errors="replace")


class KeyFile:
    """A key of the site, in a file that only the hub can read."""

    authority = ""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def forwarding(self, public_line: str, account: str, *, seconds: int) -> str:  # noqa: ARG002 - as below
        """See the Protocol."""
        raise CredentialsError(NO_CERTIFICATES)

    async def login(self, account: str, *, forwarding: bool = False) -> Login:  # noqa: ARG002 - the key is the same for all
        """See the Protocol. The file is read each time: it may be replaced."""
        try:
            if not is_private_file(self._path):
                raise CredentialsError(f"There is no key at {self._path}.")
            return login_with_key(self._path.read_bytes())
        except PrivateFileError as error:
            raise CredentialsError(str(error)) from error
        except OSError as error:
            raise CredentialsError(f"{self._path} cannot be read: {error.strerror or error}.") from error


class Agent:
    """The keys of an agent, through its socket."""

    authority = ""

    def __init__(self, path: str) -> None:
        self._path = path

    async def forwarding(self, public_line: str, account: str, *, seconds: int) -> str:  # noqa: ARG002 - as below
        """See the Protocol."""
        raise CredentialsError(NO_CERTIFICATES)

    async def login(self, account: str, *, forwarding: bool = False) -> Login:  # noqa: ARG002 - the keys are the same for all
        """See the Protocol."""
        return await login_with_agent(self._path)


def hub_authority(folder: Path) -> Authority:
    """Return the hub's own SSH authority from this folder. Raises CredentialsError, PrivateFileError."""
    path = folder / SSH_USER_CA
    if not is_private_file(path):
        raise CredentialsError("The hub has no SSH authority yet. The controller makes it when it starts.")
    return Authority(path.read_bytes())
