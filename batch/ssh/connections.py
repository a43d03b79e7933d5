"""One connection per host and account: opened when it is needed, shared, opened again when it was lost.

Owns reconnecting, back-off, limits on handshakes and sessions, and the closing of idle connections. Does not know what
is run. All calls are from one event loop.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final

from msgspec import Struct

from batch.ssh import door
from batch.ssh.credentials import Credentials
from batch.ssh.door import MAX_OUTPUT, Connection, Target
from batch.ssh.errors import (
    AccessDeniedError,
    ConnectionDroppedError,
    ConnectionLostError,
    CredentialsError,
    HostKeyError,
    SessionRefusedError,
    SshError,
)
from batch.ssh.keys import KnownHosts, Login
from batch.ssh.output import Output
from batch.ssh.sessions import Sessions

log = logging.getLogger("towpath.ssh")

HANDSHAKES: Final = 4
"""Handshakes at the same time with one host: sshd drops some from 10 on (MaxStartups)."""
DROPPED_TRIES: Final = 6
FIRST_PAUSE: Final = 0.1
FIRST_BACK_OFF: Final = 1.0
LONGEST_BACK_OFF: Final = 60.0
REFUSED_TRIES: Final = 20
REFUSED_PAUSE: Final = 0.1
IDLE_SECONDS: Final = 300.0

Connect = Callable[..., Awaitable[Connection]]


class Jump(Struct, frozen=True, kw_only=True):
    """A host through which others are reached. `user`: the account there; `""`: the same as on the other host."""

    target: Target
    user: str = ""


class BackOff:
    """The last failure, and until when it is taken for an answer."""

    def __init__(self, longest: float = LONGEST_BACK_OFF) -> None:
        self._longest = longest
        self.error: SshError | None = None
        self.since = 0.0  # seconds since the epoch
        self.failures = 0
        self.until = 0.0

    def check(self, now: float) -> None:
        """Raise the last error while its time has not passed."""
        if self.error is not None and now < self.until:
            raise self.error

    def failed(self, error: SshError, now: float) -> None:
        """Note a failure: each one doubles the time."""
        pause = min(FIRST_BACK_OFF * 2.0**self.failures, self._longest)
        self.failures += 1
        self.since = self.since or time.time()
        self.error, self.until = error, now + pause * random.uniform(0.75, 1.25)  # noqa: S311 - jitter

    def succeeded(self) -> None:
        """Forget it."""
        self.error, self.since, self.failures, self.until = None, 0.0, 0, 0.0


class _Line:
    """What is kept of one host and account."""

    def __init__(self) -> None:
        self.connecting = asyncio.Lock()
        self.connection: Connection | None = None
        self.sessions = Sessions()
        self.back_off = BackOff()
        self.users = 0
        self.last_used = 0.0


class _HostState:
    def __init__(self, longest_back_off: float) -> None:
        self.handshakes = asyncio.Semaphore(HANDSHAKES)
        self.back_off = BackOff(longest_back_off)


class Connections:
    """See the module."""

    def __init__(
        self,
        targets: Mapping[str, Target],
        credentials: Credentials,
        known_hosts: Callable[[], KnownHosts],
        *,
        connect_seconds: float,
        connect: Connect = door.connect,
        jump: Jump | None = None,
        idle_seconds: float = IDLE_SECONDS,
        longest_back_off: float = LONGEST_BACK_OFF,
    ) -> None:
        """`known_hosts` is asked at each connection.

        `connect_seconds`: for TCP, key exchange and authentication, and for opening a session. `longest_back_off`:
        seconds for which a host that failed is at most left alone. `jump`: a host through which all others are reached.
        """
        self._jump = jump
        self._targets = dict(targets)
        self._credentials = credentials
        self._known_hosts = known_hosts
        self._connect_seconds = connect_seconds
        self._connect = connect
        self._idle_seconds = idle_seconds
        self._longest_back_off = longest_back_off
        self._lines: dict[tuple[str, str], _Line] = {}
        self._hosts: dict[str, _HostState] = {}

    def trouble(self, host: str, account: str) -> tuple[SshError, float] | None:
        """(why connections as this account cannot be made now, since when); None: the last one was made."""
        state, line = self._hosts.get(host), self._lines.get((host, account))
        for back_off in (state and state.back_off, line and line.back_off):
            if back_off and back_off.error is not None:
                return back_off.error, back_off.since
        return None

    def open_connections(self) -> int:
        """How many connections are open."""
        return sum(line.connection is not None and not line.connection.closed for line in self._lines.values())

    async def run(
        self,
        host: str,
        account: str,
        command: str,
        given: bytes = b"",
        *,
        seconds: float,
        once: bool = False,
        max_output: int = MAX_OUTPUT,
    ) -> Output:
        """Run a command on a host, as an account. Raises SshError.

        On a connection that turns out to be dead it is tried once more on a new one, so it may be run twice. With
        `once` that is done only if it cannot have read its input.
        """

        async def attempt() -> Output:
            return await self._in_session(host, line, command, given, seconds, max_output)

        line = self._lines.setdefault((host, account), _Line())
        line.users += 1
        try:
            fresh = await self._connected(host, account, line)
            try:
                return await attempt()
            except ConnectionLostError as error:
                await self._drop(line)
                if fresh or (once and error.started):
                    raise
            await self._connected(host, account, line)
            try:
                return await attempt()
            except ConnectionLostError:
                await self._drop(line)
                raise
        finally:
            line.users -= 1
            line.last_used = asyncio.get_running_loop().time()
            await self._close_idle()

    @contextlib.asynccontextmanager
    async def forwarding(self, host: str, account: str) -> AsyncIterator[Connection]:
        """A connection of its own, for forwarding alone, as gateways have them. Raises SshError."""
        known = self._known_hosts()
        connection = await self._connect_to(self._targets[host], account, known, forwarding=True)
        try:
            yield connection
        finally:
            await connection.close()

    async def close(self) -> None:
        """Close all connections."""
        lines, self._lines = list(self._lines.values()), {}
        await asyncio.gather(*(self._drop(line) for line in lines))

    # --- connecting

    async def _connected(self, host: str, account: str, line: _Line) -> bool:
        """Make sure of a connection; True when it was made just now."""
        async with line.connecting:
            if line.connection is not None and not line.connection.closed:
                return False
            await self._drop(line)  # one that has ended: its connection to a jump host may be open
            loop = asyncio.get_running_loop()
            state = self._hosts.setdefault(host, _HostState(self._longest_back_off))
            state.back_off.check(loop.time())
            line.back_off.check(loop.time())
            try:
                known = self._known_hosts()
                async with state.handshakes:
                    state.back_off.check(loop.time())  # others may have found out meanwhile
                    line.connection = await self._connect_to(self._targets[host], account, known)
            except (AccessDeniedError, CredentialsError) as error:
                state.back_off.succeeded()
                line.back_off.failed(error, loop.time())
                log.warning("The hub cannot log in. host=%s account=%s reason=%r", host, account, str(error))
                raise
            except SshError as error:
                self._note_host_failure(host, state, error)
                raise
            line.sessions = Sessions()
            line.back_off.succeeded()
            if state.back_off.error is not None:
                log.info("The host can be used again. host=%s", host)
            state.back_off.succeeded()
            return True

    async def _connect_to(
        self, target: Target, account: str, known: KnownHosts, *, forwarding: bool = False
    ) -> Connection:
        """Connect to a host, through the jump host if there is one."""
        login = await self._credentials.login(account, forwarding=forwarding)
        try:
            if self._jump is None:
                return await self._try_to_connect(target, account, login, known)
            through = await self._connect_to_jump(self._jump, account, known)
            try:
                return await self._try_to_connect(target, account, login, known, through)
            except BaseException:
                await through.close()
                raise
        finally:
            login.close()

    async def _connect_to_jump(self, jump: Jump, account: str, known: KnownHosts) -> Connection:
        user = jump.user or account
        login = await self._credentials.login(user, forwarding=True)
        try:
            return await self._try_to_connect(jump.target, user, login, known)
        finally:
            login.close()

    async def _try_to_connect(
        self, target: Target, account: str, login: Login, known: KnownHosts, through: Connection | None = None
    ) -> Connection:
        """Connect; when sshd drops connections for their number (MaxStartups), a little later again."""
        pause = FIRST_PAUSE
        for _ in range(DROPPED_TRIES - 1):
            try:
                return await self._connect(
                    target, account, login, known, seconds=self._connect_seconds, through=through
                )
            except ConnectionDroppedError:
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
                pause *= 2
        return await self._connect(target, account, login, known, seconds=self._connect_seconds, through=through)

    def _note_host_failure(self, host: str, state: _HostState, error: SshError) -> None:
        before = state.back_off.error
        if isinstance(error, HostKeyError) and error.changed:
            log.error(
                "The host's key is not the one that is known: the host is not used. host=%s shown=%s reason=%r",
                host, error.fingerprint, str(error),
            )  # fmt: skip
        elif before is None or str(before) != str(error):
            log.warning("The host cannot be used. host=%s reason=%r", host, str(error))
        state.back_off.failed(error, asyncio.get_running_loop().time())

    # --- running

    async def _in_session(  # noqa: PLR0917 - where, what, and its limits
        self, host: str, line: _Line, command: str, given: bytes, seconds: float, max_output: int
    ) -> Output:
        """Run in a session, when there is room for one."""
        refused = 0
        while True:
            sessions, connection = line.sessions, line.connection
            if connection is None:
                raise ConnectionLostError(f"The connection to {host} was lost.", started=False)
            async with sessions:
                try:
                    return await connection.run(
                        command, given, seconds=seconds, open_seconds=self._connect_seconds, max_output=max_output
                    )
                except SessionRefusedError as error:
                    alone = sessions.used == 1
                    sessions.refused()
                    refused += 1
                    if refused == REFUSED_TRIES:
                        message = f"{host} opens no more sessions for the hub (MaxSessions in sshd_config)."
                        raise SessionRefusedError(message) from error
            if alone:  # sshd may not have noticed yet that the last one has ended
                await asyncio.sleep(REFUSED_PAUSE)

    async def _drop(self, line: _Line) -> None:
        connection, line.connection = line.connection, None
        if connection is not None:
            await connection.close()

    async def _close_idle(self) -> None:
        now = asyncio.get_running_loop().time()
        for key, line in list(self._lines.items()):
            if line.users == 0 and now - line.last_used > self._idle_seconds:
                del self._lines[key]
                await self._drop(line)
