"""The one door to Redis: URLs, connections, scripts, and the translation of errors.

Owns: redis-py (URLs, hash slots, the client for a Redis Cluster) and the lines to a single server
(`state.redis.connection`). Refuses to know keys, records and what a script means. Replies are RESP2, undecoded.
"""

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

import redis.exceptions as errors
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from state.errors import ConflictError, FencedError, StateUnavailableError, TowpathError
from state.redis.connection import Address, Command, Line, ReplyError
from state.redis.sentinel import SCHEMES as SENTINEL_SCHEMES
from state.redis.sentinel import sentinels_of

AWAY: Final = "The hub cannot reach its store right now. Please try again in a moment."
WAIT_MARGIN: Final = 2.0
"""Seconds past the end of a blocking command after which its connection is given up."""
IDLE_WAITERS: Final = 32
SCAN_COUNT: Final = 300
"""Keys that one step of a scan looks at: less than a millisecond for the server."""
CLUSTER_SCHEMES: Final = ("redis+cluster://", "rediss+cluster://")

_FAILURES: Final = (OSError, errors.RedisError, errors.RedisClusterException)
"""All that redis-py raises: its cluster's errors are a family of their own."""

_REFUSALS: Final[dict[str, tuple[type[TowpathError], str]]] = {
    "CONFLICT": (ConflictError, "Somebody else changed this at the same time. Please look again."),
    "FENCED": (FencedError, "Another controller has taken over."),
}


class Script:
    """A Lua script. It answers a refusal with `redis.error_reply('CONFLICT …')` or `'FENCED …'`."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class _Transport(Protocol):
    """What a single server and a cluster have in common. Raises OSError or redis-py's errors."""

    losses: int
    one_server: bool

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """The replies in order; error replies are values."""

    async def wait(self, command: Command, seconds: float) -> Any:
        """A blocking command, on a connection of its own."""

    def scan(self, match: str, count: int) -> AsyncIterator[list[bytes]]:
        """The names of keys, some at a time; a name may come twice (SCAN)."""

    async def close(self) -> None:
        """Close every connection."""


class Redis:
    """The connections of a process to one Redis, Valkey or Redis Cluster. They mend themselves."""

    def __init__(self, transport: _Transport) -> None:
        self._transport = transport

    @classmethod
    async def open(cls, url: str) -> "Redis":
        """Connect and ping. Raises StateUnavailableError, and ValueError for a URL that is none."""
        opened = cls(_Cluster(url) if url.startswith(CLUSTER_SCHEMES) else _Server(_finder(url)))
        try:
            await opened.call("GET", "towpath:{lease:controller}:holder")
        except BaseException:
            await opened.close()
            raise
        return opened

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.close()

    @property
    def losses(self) -> int:
        """How often a connection was lost so far: a reader of numbered events then reads all anew."""
        return self._transport.losses

    async def call(self, *command: Any) -> Any:
        """One command. Raises StateUnavailableError."""
        return (await self.pipeline((command,)))[0]

    async def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """Several commands in one round trip, not atomic; the replies in order. Raises StateUnavailableError."""
        if not commands:
            return []
        try:
            replies = await self._transport.send(commands)
        except _FAILURES as error:
            raise StateUnavailableError(AWAY) from error
        for reply in replies:
            if isinstance(reply, Exception):
                raise _refusal(reply)
        return replies

    async def in_order(self, *steps: Sequence[Command]) -> list[Any]:
        """As `pipeline` for several steps, each done before the next one begins.

        A single server does what comes on one connection in its order, so that it is one round trip there; in a
        cluster each step waits for the one before it.
        """
        if self._transport.one_server:
            return await self.pipeline([command for step in steps for command in step])
        return [reply for step in steps for reply in await self.pipeline(step)]

    async def values(self, keys: Sequence[str], commands: Sequence[Command] = ()) -> tuple[list[Any], list[Any]]:
        """The values of plain keys (None: not there), and the replies to further commands, in one round trip.

        On a single server the keys are one command; in a cluster each may be in another slot.
        """
        if not keys:
            return [], await self.pipeline(commands)
        if self._transport.one_server:
            found, *replies = await self.pipeline([("MGET", *keys), *commands])
            return found, replies
        replies = await self.pipeline([*(("GET", key) for key in keys), *commands])
        return replies[: len(keys)], replies[len(keys) :]

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Any] = ()) -> Any:
        """A script, atomically; all `keys` are under one hash tag.

        Raises StateUnavailableError, or what the script refused: ConflictError, FencedError.
        """
        return (await self.run_many(script, ((keys, args),)))[0]

    async def run_many(self, script: Script, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        """A script for several (keys, args), pipelined; each alone is atomic. Raises as `run`."""
        if not calls:
            return []
        tails = [(len(keys), *keys, *args) for keys, args in calls]
        try:
            replies = await self._transport.send([("EVALSHA", script.sha, *tail) for tail in tails])
            for at, reply in enumerate(replies):
                if isinstance(reply, Exception) and _words(reply).startswith("NOSCRIPT"):
                    replies[at] = (await self._transport.send((("EVAL", script.text, *tails[at]),)))[0]
        except _FAILURES as error:
            raise StateUnavailableError(AWAY) from error
        for reply in replies:
            if isinstance(reply, Exception):
                raise _refusal(reply)
        return replies

    async def scan(self, match: str, *, count: int = SCAN_COUNT) -> AsyncIterator[list[str]]:
        """The names of all keys that match, about `count` at a time. Raises StateUnavailableError.

        A key that exists all the time is among them, perhaps more than once (SCAN's guarantee).
        """
        try:
            async for names in self._transport.scan(match, count):
                yield [name.decode() for name in names]
        except _FAILURES as error:
            raise StateUnavailableError(AWAY) from error

    async def wait(self, *command: Any, seconds: float) -> Any:
        """A command that blocks for up to `seconds`, on a connection of its own. Raises StateUnavailableError."""
        try:
            reply = await self._transport.wait(command, seconds)
        except _FAILURES as error:
            raise StateUnavailableError(AWAY) from error
        if isinstance(reply, Exception):
            raise _refusal(reply)
        return reply


class _Server:
    """One server: one line that all share, and lines of their own for those that wait.

    Where it is, is asked anew for every line: a Sentinel may have made another the master.
    """

    one_server = True

    def __init__(self, find: Callable[[], Awaitable[Address]]) -> None:
        self._find = find
        self._line: Line | None = None
        self._opening: asyncio.Task[Line] | None = None
        self._idle: list[Line] = []
        self._closed = False
        self.losses = 0

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        line = self._line
        if line is None or line.lost is not None:
            line = await self._shared()
        replies = await line.send(commands)
        for reply in replies:
            if isinstance(reply, ReplyError) and str(reply).startswith("READONLY"):
                line.close()  # it is a replica now: whoever comes next looks for the master
                break
        return replies

    async def wait(self, command: Command, seconds: float) -> Any:
        line = await self._own()
        try:
            async with asyncio.timeout(seconds + WAIT_MARGIN):
                replies = await line.send((command,))
        except OSError:  # a time-out is one
            if not self._closed:
                self.losses += 1
            raise
        finally:
            if not line.quiet:  # the caller went away, or the server: its late answer is nobody's
                line.close()
        if len(self._idle) < IDLE_WAITERS and not self._closed:
            self._idle.append(line)
        else:
            line.close()
        return replies[0]

    async def scan(self, match: str, count: int) -> AsyncIterator[list[bytes]]:
        cursor: Any = 0
        while True:
            reply = (await self.send((("SCAN", cursor, "MATCH", match, "COUNT", count),)))[0]
            if isinstance(reply, Exception):
                raise errors.ResponseError(str(reply))
            cursor, names = reply
            if names:
                yield names
            if int(cursor) == 0:
                return

    async def close(self) -> None:
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
        for line in (self._line, *self._idle):
            if line is not None:
                line.close()
        self._idle.clear()
        await asyncio.sleep(0)  # lets the loop close the sockets

    async def _shared(self) -> Line:
        """The line that all share, opened anew by one of those who find it lost; the others wait for that."""
        if self._closed:
            raise ConnectionError("closed")
        if self._opening is None:
            if self._line is not None:
                self.losses += 1
            self._opening = asyncio.get_running_loop().create_task(self._open())
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    def _opened(self, task: asyncio.Task[Line]) -> None:
        self._opening = None
        if not task.cancelled() and task.exception() is None:
            self._line = task.result()
            if self._closed:
                self._line.close()

    async def _open(self) -> Line:
        return await Line.open(await self._find())

    async def _own(self) -> Line:
        while self._idle:
            line = self._idle.pop()
            if line.lost is None:
                return line
            self.losses += 1
        if self._closed:
            raise ConnectionError("closed")
        return await Line.open(await self._find(), patience=0)


class _Cluster:
    """A Redis Cluster, by redis-py's client: it follows the slots. A command is sent once, never again."""

    one_server = False

    def __init__(self, url: str) -> None:
        self._quick = self._client(url, seconds=3.0)
        self._slow = self._client(url, seconds=None)
        self.losses = 0

    @staticmethod
    def _client(url: str, *, seconds: float | None) -> RedisCluster:
        client = RedisCluster.from_url(
            url.replace("+cluster://", "://", 1),
            protocol=2,
            socket_timeout=seconds,
            socket_connect_timeout=1.5,
            retry=Retry(NoBackoff(), 0),
            max_connections=4096,
        )
        for name in list(client.response_callbacks):
            if not name.startswith(("CLUSTER", "COMMAND")):
                del client.response_callbacks[name]  # replies as they are, like a single server's
        return client

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        if len(commands) == 1:
            return [await self._one(self._quick, commands[0])]
        return await asyncio.gather(*[self._one(self._quick, command) for command in commands])

    async def wait(self, command: Command, seconds: float) -> Any:
        async with asyncio.timeout(seconds + WAIT_MARGIN):
            return await self._one(self._slow, command)

    async def scan(self, match: str, count: int) -> AsyncIterator[list[bytes]]:
        _ = await self._quick.initialize()
        for node in self._quick.get_primaries():
            cursor: Any = 0
            while True:
                cursor, names = await node.execute_command("SCAN", cursor, "MATCH", match, "COUNT", count)
                if names:
                    yield names
                if int(cursor) == 0:
                    break

    async def close(self) -> None:
        await self._quick.aclose()
        await self._slow.aclose()

    async def _one(self, client: RedisCluster, command: Command) -> Any:
        try:
            _ = await client.initialize()
            node = client.nodes_manager.get_node_from_slot(client.keyslot(_key_of(command)))
            return await client.execute_command(*command, target_nodes=node)
        except errors.ResponseError as error:
            return error
        except _FAILURES:
            self.losses += 1
            raise


def _key_of(command: Command) -> str:
    """The key that decides the slot."""
    match command[0]:
        case "EVAL" | "EVALSHA":
            return str(command[3])
        case "XREAD":
            return str(command[list(command).index("STREAMS") + 1])
        case _:
            return str(command[1])


def _finder(url: str) -> Callable[[], Awaitable[Address]]:
    """How the server of this URL is found. Raises ValueError."""
    if url.startswith(SENTINEL_SCHEMES):
        query = url.partition("?")[2]
        tls = _context({**parse_url(f"rediss://any/?{query}")}) if url.startswith("rediss") else None
        return sentinels_of(url, tls).find
    address = address_of(url)

    async def there() -> Address:
        return address

    return there


def _context(given: dict[str, Any]) -> ssl.SSLContext:
    """TLS as redis-py's ssl_... arguments ask for it."""
    context = ssl.create_default_context(cafile=given.get("ssl_ca_certs"))
    if given.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if given.get("ssl_certfile"):
        context.load_cert_chain(given["ssl_certfile"], given.get("ssl_keyfile"))
    return context


def address_of(url: str) -> Address:
    """What a redis://, rediss:// or unix:// URL says. Raises ValueError."""
    given: dict[str, Any] = {**parse_url(url)}
    context = _context(given) if url.startswith("rediss://") else None
    return Address(
        host=str(given.get("host") or "127.0.0.1"),
        port=int(given.get("port") or 6379),
        path=str(given.get("path") or ""),
        username=str(given.get("username") or ""),
        password=str(given.get("password") or ""),
        database=int(given.get("db") or 0),
        tls=context,
    )


def _words(error: Exception) -> str:
    """An error reply's text as the server sent it; redis-py takes the first word off some."""
    if isinstance(error, errors.NoScriptError):
        return f"NOSCRIPT {error}"
    return str(error)


def _refusal(error: Exception) -> TowpathError:
    """The error of ours for an error reply."""
    kind, sentence = _REFUSALS.get(_words(error).partition(" ")[0], (StateUnavailableError, AWAY))
    refused = kind(sentence)
    refused.__cause__ = error
    return refused


__all__ = ["Redis", "ReplyError", "Script", "address_of"]
