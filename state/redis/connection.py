"""One connection to a Redis server, shared by all callers of the process.

Owns the protocol. Commands of many callers are written as they arrive and replies are matched in order, so that a
command costs few microseconds of CPU: 5 for a `GET` among 16 callers, where redis-py's asyncio client takes 92
(measured over a unix socket on uvloop). Does not know keys, scripts, clusters or the meaning of error replies.

Source: RESP2, https://redis.io/docs/latest/develop/reference/protocol-spec/ ("pipelining").
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, cast

import hiredis
from msgspec import Struct

CONNECT_SECONDS: Final = 1.5
ANSWER_SECONDS: Final = 3.0
"""Seconds without data after which a server that owes replies is considered lost."""

Argument = str | bytes | int | float
Command = Sequence[Argument]
ReplyError = hiredis.ReplyError


class Address(Struct, frozen=True, kw_only=True):
    """The address of a server and its credentials: `path` of a unix socket, or `host` and `port`."""

    host: str = "127.0.0.1"
    port: int = 6379
    path: str = ""
    username: str = ""
    password: str = ""
    database: int = 0
    tls: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        """Leave out the password."""
        return f"Address({self.path or f'{self.host}:{self.port}'})"

    def greeting(self) -> list[Command]:
        """Return the commands that open a connection."""
        commands: list[Command] = []
        if self.password:
            commands.append(("AUTH", self.username or "default", self.password))
        if self.database:
            commands.append(("SELECT", self.database))
        commands.append(("PING",))
        return commands


class Line(asyncio.Protocol):
    """A connection. It does not reconnect: open another."""

    def __init__(self, *, patience: float = ANSWER_SECONDS) -> None:
        """`patience`: seconds without data, while replies are due, until the connection is closed; 0: no limit."""
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._due: deque[tuple[asyncio.Future[Any], int]] = deque()
        self._replies: list[Any] = []
        self._transport: asyncio.Transport | None = None
        self._patience = patience
        self._last_data = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self.lost: Exception | None = None

    @classmethod
    async def open(cls, address: Address, *, patience: float = ANSWER_SECONDS) -> "Line":
        """Connect and authenticate. Raises OSError, also for a wrong password."""
        loop = asyncio.get_running_loop()

        def make() -> Line:
            return cls(patience=patience)

        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                if address.path:
                    _, line = await loop.create_unix_connection(make, address.path)
                else:
                    _, line = await loop.create_connection(make, address.host, address.port, ssl=address.tls)
                try:
                    _check_welcome(await line.send(address.greeting()))
                except BaseException:
                    line.close()
                    raise
        except TimeoutError as error:
            raise ConnectionError("the server did not answer in time") from error
        return line

    def send(self, commands: Sequence[Command]) -> "asyncio.Future[list[Any]]":
        """Send commands in one write. The future has the replies in order; error replies are values."""
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        if self.lost is not None or self._transport is None:
            future.set_exception(ConnectionResetError("the connection is closed"))
            return future
        pack = hiredis.pack_command
        if len(commands) == 1:
            self._transport.write(pack(commands[0]))  # type: ignore[arg-type]  # any sequence is accepted
        else:
            self._transport.write(b"".join([pack(command) for command in commands]))  # type: ignore[arg-type]
        if not self._due:
            self._last_data = self._loop.time()
            if self._watch is None and self._patience:
                self._watch = self._loop.call_later(self._patience, self._check_silence)
        self._due.append((future, len(commands)))
        return future

    @property
    def quiet(self) -> bool:
        """Whether the connection is open and no replies are due."""
        return self.lost is None and not self._due

    def close(self) -> None:
        """Close immediately. Waiting callers get a ConnectionError."""
        self._drop(ConnectionResetError("the connection was closed"))

    def _check_silence(self) -> None:
        """Close the connection if the server is silent; otherwise check again later while replies are due."""
        self._watch = None
        if not self._due or self.lost is not None:
            return
        left = self._last_data + self._patience - self._loop.time()
        if left <= 0:
            self._drop(ConnectionAbortedError("the server does not answer"))
        else:
            self._watch = self._loop.call_later(left, self._check_silence)

    def _drop(self, error: Exception) -> None:
        if self.lost is not None:
            return
        self.lost = error
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._transport is not None:
            self._transport.abort()
        due, self._due = self._due, deque()
        for future, _ in due:
            if not future.done():
                future.set_exception(error)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio's callback: the connection is open)."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the waiting callers (asyncio's callback: the connection is closed)."""
        self._drop(exc or ConnectionResetError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Resolve the replies that are complete (asyncio's callback)."""
        self._last_data = self._loop.time()
        reader = self._reader
        try:
            reader.feed(data)
            while True:
                reply = reader.gets()
                if reply is False:  # RESP2 has no booleans: hiredis returns False for "incomplete"
                    return
                self._replies.append(reply)
                future, expected = self._due[0]
                if len(self._replies) == expected:
                    self._due.popleft()
                    replies, self._replies = self._replies, []
                    if not future.done():
                        future.set_result(replies)
        except (hiredis.HiredisError, IndexError) as error:
            self._drop(ConnectionAbortedError(f"the server does not speak the Redis protocol: {error}"))


def _check_welcome(replies: list[Any]) -> None:
    for reply in replies:
        if isinstance(reply, ReplyError):
            raise ConnectionRefusedError(str(reply))
