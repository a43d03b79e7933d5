"""The one door to asyncssh, with `batch.ssh.keys`: connections and commands.

Owns the translation of asyncssh's errors and the options of a connection. It reads no file of the hub's account:
neither ~/.ssh/config nor ~/.ssh/known_hosts nor an agent that was not configured. Does not decide when to connect.
"""

import asyncio
import contextlib
import logging
import os
from typing import Final

import asyncssh
from msgspec import Struct

from batch.ssh.errors import (
    AccessDeniedError,
    ConnectionDroppedError,
    ConnectionLostError,
    HostKeyError,
    HostUnreachableError,
    OutputLimitError,
    SessionRefusedError,
)
from batch.ssh.keys import KnownHosts, Login
from batch.ssh.output import Output

KEEPALIVE_SECONDS: Final = 15
KEEPALIVE_COUNT: Final = 3
"""A connection on which nothing has been heard for so many keepalives is closed."""
MAX_OUTPUT: Final = 8 * 1024 * 1024
CHUNK: Final = 65536
CLOSE_SECONDS: Final = 2.0

logging.getLogger("asyncssh").setLevel(logging.WARNING)  # it logs every channel


# --- connections --------------------------------------------------------------------------------------------------


class Target(Struct, frozen=True, kw_only=True):
    """A host. `name`: as known_hosts has it; `address`: where to connect, by default the name."""

    name: str
    address: str
    port: int = 22

    def __str__(self) -> str:
        return self.name


class Connection:
    """An authenticated connection. Sessions on it share one TCP connection."""

    def __init__(
        self, connection: asyncssh.SSHClientConnection, target: Target, through: "Connection | None" = None
    ) -> None:
        """`through`: the connection to the jump host, which ends with this one."""
        self._connection = connection
        self._target = target
        self._through = through

    @property
    def tunnel(self) -> asyncssh.SSHClientConnection:
        """What another connection is made through."""
        return self._connection

    @property
    def closed(self) -> bool:
        """Whether it can no longer be used."""
        return self._connection.is_closed()

    async def run(
        self,
        command: str,
        given: bytes = b"",
        *,
        seconds: float,
        open_seconds: float = 0.0,
        max_output: int = MAX_OUTPUT,
    ) -> Output:
        """Run a command with `given` on its standard input, and return what it printed.

        `open_seconds`: for the opening of the session, of `seconds`; 0: all of them. Raises SessionRefusedError when
        nothing was started, ConnectionLostError and OutputLimitError when something may have been.
        """
        opened = False
        first = min(open_seconds or seconds, seconds)
        try:
            async with asyncio.timeout(first) as limit:
                process = await self._open(command)
                opened = True
                limit.reschedule(asyncio.get_running_loop().time() + seconds)
                try:
                    return await self._talk(process, given, max_output)
                finally:
                    process.close()
        except TimeoutError:
            message = f"{self._target} did not answer within {seconds if opened else first:.0f} seconds."
            raise ConnectionLostError(message, started=opened or not given) from None
        except (asyncssh.Error, OSError) as error:
            message = f"The connection to {self._target} was lost: {_reason(error)}."
            raise ConnectionLostError(message, started=opened or not given) from error

    async def greet(self, path: str, greeting: bytes) -> bool:
        """Whether a channel to a unix socket can be opened, and what listens there sends this greeting."""
        try:
            reader, writer = await self._connection.open_unix_connection(path)
        except (asyncssh.Error, OSError):
            return False
        try:
            return bool(await reader.read(len(greeting)) == greeting)
        except (asyncssh.Error, OSError):
            return False
        finally:
            writer.close()

    async def _open(self, command: str) -> "asyncssh.SSHClientProcess[bytes]":
        try:
            return await self._connection.create_process(command, encoding=None, env={}, send_env=[], request_pty=False)
        except asyncssh.ChannelOpenError as error:
            if self.closed:
                raise
            raise SessionRefusedError(f"{self._target} opens no more sessions: {error.reason}.") from error

    async def _talk(self, process: "asyncssh.SSHClientProcess[bytes]", given: bytes, max_output: int) -> Output:
        tasks = [
            asyncio.ensure_future(work)
            for work in (self._read(process.stdout, max_output), _read_beginning(process.stderr), _feed(process, given))
        ]
        try:
            out, err, _ = await asyncio.gather(*tasks)
            await process.wait_closed()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        code = process.returncode
        return Output(code=-1 if code is None else code, out=out or b"", err=(err or b"").decode(errors="replace"))

    async def _read(self, reader: "asyncssh.SSHReader[bytes]", limit: int) -> bytes:
        parts, size = [], 0
        while part := await reader.read(CHUNK):
            size += len(part)
            if size > limit:
                raise OutputLimitError(f"{self._target} printed more than {limit} bytes.")
            parts.append(part)
        return b"".join(parts)

    async def close(self) -> None:
        """Close the connection; processes that were started in their own sessions keep running."""
        self._connection.close()
        with contextlib.suppress(TimeoutError, asyncssh.Error, OSError):
            await asyncio.wait_for(self._connection.wait_closed(), CLOSE_SECONDS)
        self._connection.abort()
        if self._through is not None:
            await self._through.close()


async def _feed(process: "asyncssh.SSHClientProcess[bytes]", given: bytes) -> bytes:
    """Write the input. A command that does not read it to its end is no error."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for start in range(0, len(given), CHUNK):
            process.stdin.write(given[start : start + CHUNK])
            await process.stdin.drain()
        process.stdin.write_eof()
    return b""


async def _read_beginning(reader: "asyncssh.SSHReader[bytes]") -> bytes:
    """The first 4 KiB; the rest is read and dropped, so that the command is not blocked."""
    kept = b""
    while part := await reader.read(CHUNK):
        kept = (kept + part)[:4096]
    return kept


class _Client(asyncssh.SSHClient):
    """Notes the key that a host shows when it is not a trusted one, and refuses it."""

    def __init__(self) -> None:
        self.shown: asyncssh.SSHKey | None = None
        self.connection: asyncssh.SSHClientConnection | None = None

    @property
    def greeted(self) -> bool:
        """Whether sshd has sent its version, the first that it says."""
        return self.connection is not None and bool(self.connection.get_extra_info("server_version"))

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self.connection = conn

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002
        self.shown = key
        return False

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002
        self.shown = key
        return False


async def connect(
    target: Target,
    account: str,
    login: Login,
    known: KnownHosts,
    *,
    seconds: float,
    through: Connection | None = None,
) -> Connection:
    """Connect and authenticate as an account. Raises an SshError with `started` False.

    `through`: the connection to a jump host. It ends with the new one, and stays the caller's if there is none.
    """
    client = _Client()
    try:
        async with asyncio.timeout(seconds):
            connection = await asyncssh.connect(
                target.address,
                target.port,
                tunnel=through.tunnel if through is not None else (),
                config=None,
                client_factory=lambda: client,
                username=account,
                known_hosts=known.of(target.name, target.port),
                host_key_alias=target.name,
                preferred_auth="publickey",
                x509_trusted_certs=None,
                keepalive_interval=KEEPALIVE_SECONDS,
                keepalive_count_max=KEEPALIVE_COUNT,
                login_timeout=seconds,
                connect_timeout=seconds,
                **login.options,
            )
    except asyncssh.HostKeyNotVerifiable as error:
        raise _host_key_error(target, client.shown, known, error) from error
    except asyncssh.PermissionDenied as error:
        raise AccessDeniedError(f"{target} refused the hub's login as {account}.") from error
    except TimeoutError as error:
        raise HostUnreachableError(f"{target} did not answer within {seconds:.0f} seconds.") from error
    except (ConnectionResetError, asyncssh.ConnectionLost) as error:
        if client.greeted:
            raise HostUnreachableError(f"{target} closed the connection: {_reason(error)}.") from error
        raise ConnectionDroppedError(f"{target} closed the connection at once.") from error
    except OSError as error:
        raise HostUnreachableError(f"{target} cannot be reached: {_reason(error)}.") from error
    except (asyncssh.Error, ValueError) as error:
        raise HostUnreachableError(f"{target} cannot be used: {_reason(error)}.") from error
    return Connection(connection, target, through)


def _host_key_error(
    target: Target, shown: asyncssh.SSHKey | None, known: KnownHosts, error: asyncssh.HostKeyNotVerifiable
) -> HostKeyError:
    fingerprint = shown.get_fingerprint() if shown else ""
    public_key = " ".join(shown.export_public_key().decode().split()[:2]) if shown else ""
    changed = known.knows(target.name, target.port)
    message = (
        f"{target} did not prove its identity: {error.reason.removesuffix('.')}."
        if changed
        else f"The hub knows no host key of {target}."
    )
    return HostKeyError(message, fingerprint=fingerprint, public_key=public_key, changed=changed)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)  # asyncio puts the address in place of the reason
    text = error.reason if isinstance(error, asyncssh.Error) else str(error)
    return str(text).strip().removesuffix(".") or type(error).__name__
