"""The only access to Redis: URLs, connections, scripts and the translation of errors.

Owns redis-py (URLs, hash slots, the client for a Redis Cluster) and the connections to a single server
(`state.redis.connection`). Does not know keys, records or what a script does. Replies are RESP2, not decoded.
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

from state.errors import BadRecordError, ConflictError, FencedError, LimitError, StateUnavailableError, TowpathError
from state.redis.connection import Address, Command, Line, ReplyError
from state.redis.damage import Damage
from state.redis.sentinel import SCHEMES as SENTINEL_SCHEMES
from state.redis.sentinel import sentinels_of
from state.turns import PART, parts

AWAY: Final = "The hub cannot reach its database. Try again in a moment."
BAD_RECORD: Final = "The hub cannot read its record of this. Tell the admins: towpath store check names the record."
REVISION_OF: Final = """
local function revision_of(raw)
  local there, record = pcall(cjson.decode, raw)
  if not there or type(record) ~= 'table' or type(record.revision) ~= 'number' then return nil end
  return record.revision, tonumber(record.fence) or 0, record
end
"""
"""For scripts: return the revision and the fencing token of a record, or nil if it cannot be read (`BAD record`)."""
WAIT_MARGIN: Final = 2.0
"""Seconds after the timeout of a blocking command at which its connection is closed."""
IDLE_WAITERS: Final = 32
FIELDS_COUNT: Final = 256
"""Buckets of a hash that one step looks at."""
SCAN_COUNT: Final = 300
"""Keys per step of a scan. A step takes the server less than a millisecond."""
CLUSTER_SCHEMES: Final = ("redis+cluster://", "rediss+cluster://")

_FAILURES: Final = (OSError, errors.RedisError, errors.RedisClusterException)
"""Everything that redis-py raises. The errors of its cluster client have a base class of their own."""

_REFUSALS: Final[dict[str, tuple[type[TowpathError], str]]] = {
    "CONFLICT": (ConflictError, "Someone else changed this at the same time. Reload the page and try again."),
    "FENCED": (FencedError, "Another controller has taken over."),
    "BAD": (BadRecordError, BAD_RECORD),
    "LIMIT": (LimitError, "The hub allows no more of these. Remove some that are not needed."),
}


class Script:
    """A Lua script. It signals a refusal with `redis.error_reply('CONFLICT …')`, `'FENCED …'` or `'BAD …'`."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class _Transport(Protocol):
    """The interface of a single server and of a cluster. Raises OSError or redis-py's errors."""

    losses: int
    one_server: bool

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands and return the replies in order. Error replies are returned as values."""

    async def wait(self, command: Command, seconds: float) -> Any:
        """Run a blocking command on a separate connection."""

    def scan(self, match: str, count: int) -> AsyncIterator[list[bytes]]:
        """Yield names of keys in batches. A name may occur twice (SCAN)."""

    async def close(self) -> None:
        """Close every connection."""


class Redis:
    """The connections of a process to one Redis, Valkey or Redis Cluster. They reconnect automatically."""

    def __init__(self, transport: _Transport) -> None:
        self._transport = transport
        self.damage = Damage()

    @classmethod
    async def open(cls, url: str) -> "Redis":
        """Connect and ping. Raises StateUnavailableError, and ValueError for an invalid URL."""
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
        """How many connections were lost so far.

        After a loss, readers of numbered events must read everything again.
        """
        return self._transport.losses

    async def call(self, *command: Any) -> Any:
        """Run one command. Raises StateUnavailableError."""
        return (await self.pipeline((command,)))[0]

    async def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands, not atomically, and return the replies in order. Raises StateUnavailableError.

        Up to PART commands take one round trip. More are sent in parts, so that no caller holds up the others.
        """
        if len(commands) <= PART:
            return await self._sent(commands)
        return [reply for part in parts(commands) for reply in await self._sent(part)]

    async def _sent(self, commands: Sequence[Command]) -> list[Any]:
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
        """Run several steps as `pipeline` does, each finished before the next one begins.

        A single server runs the commands of a connection in order, so there it is one round trip. In a cluster, each
        step waits for the previous one.
        """
        if self._transport.one_server:
            return await self.pipeline([command for step in steps for command in step])
        return [reply for step in steps for reply in await self.pipeline(step)]

    async def values(self, keys: Sequence[str], commands: Sequence[Command] = ()) -> tuple[list[Any], list[Any]]:
        """Return the values of string keys (None: missing) and the replies to further commands, in one round trip.

        For at most PART keys. On a single server they are read with one command. In a cluster, each may be in another
        slot.
        """
        if not keys:
            return [], await self.pipeline(commands)
        if self._transport.one_server:
            found, *replies = await self.pipeline([("MGET", *keys), *commands])
            return found, replies
        replies = await self.pipeline([*(("GET", key) for key in keys), *commands])
        return replies[: len(keys)], replies[len(keys) :]

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Any] = ()) -> Any:
        """Run a script atomically. All `keys` share one hash tag.

        Raises StateUnavailableError, or the script's refusal: ConflictError, FencedError, BadRecordError or LimitError.
        """
        return (await self.run_many(script, ((keys, args),)))[0]

    async def run_many(self, script: Script, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        """Run a script for several (keys, args), pipelined in parts. Each run is atomic. Raises as `run` does."""
        if len(calls) > PART:
            return [reply for part in parts(calls) for reply in await self.run_many(script, part)]
        if not calls:
            return []
        tails = [(len(keys), *keys, *args) for keys, args in calls]
        try:
            replies = await self._transport.send([("EVALSHA", script.sha, *tail) for tail in tails])
            for at, reply in enumerate(replies):
                if isinstance(reply, Exception) and _error_text(reply).startswith("NOSCRIPT"):
                    replies[at] = (await self._transport.send((("EVAL", script.text, *tails[at]),)))[0]
        except _FAILURES as error:
            raise StateUnavailableError(AWAY) from error
        for reply in replies:
            if isinstance(reply, Exception):
                raise _refusal(reply)
        return replies

    async def fields(self, key: str) -> AsyncIterator[list[bytes]]:
        """The fields of a hash, some at a time, each list as HGETALL returns it. Raises StateUnavailableError.

        A small hash is one round trip. A field that is there all the time is among them, perhaps more than once.
        """
        cursor: Any = 0
        while True:
            cursor, flat = await self.call("HSCAN", key, cursor, "COUNT", FIELDS_COUNT)
            if flat:
                yield flat
            if int(cursor) == 0:
                return

    async def scan(self, match: str, *, count: int = SCAN_COUNT) -> AsyncIterator[list[str]]:
        """Yield the names of all matching keys, about `count` at a time. Raises StateUnavailableError.

        A key that exists throughout the scan is included, perhaps more than once (SCAN's guarantee).
        """
        try:
            async for names in self._transport.scan(match, count):
                yield [name.decode() for name in names]
        except _FAILURES as error:
            raise StateUnavailableError(AWAY) from error

    async def wait(self, *command: Any, seconds: float) -> Any:
        """Run a command that blocks for up to `seconds`, on a separate connection. Raises StateUnavailableError."""
        try:
            reply = await self._transport.wait(command, seconds)
        except _FAILURES as error:
            raise StateUnavailableError(AWAY) from error
        if isinstance(reply, Exception):
            raise _refusal(reply)
        return reply


class _Server:
    """A single server: one connection that all callers share, and separate ones for blocking commands.

    Its address is looked up for every new connection, because a Sentinel may have promoted another server.
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
                line.close()  # the server is a replica now: the next caller looks for the master
                break
        return replies

    async def wait(self, command: Command, seconds: float) -> Any:
        line = await self._own()
        try:
            async with asyncio.timeout(seconds + WAIT_MARGIN):
                replies = await line.send((command,))
        except OSError:  # includes timeouts
            if not self._closed:
                self.losses += 1
            raise
        finally:
            if not line.quiet:  # the caller or the server is gone, and nobody reads a late reply
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
        """Return the shared connection. The first caller to find it lost reconnects, and the others wait for that."""
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
    """A Redis Cluster, with redis-py's client, which follows the slots. A command is never sent twice."""

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
                del client.response_callbacks[name]  # return replies unchanged, like a single server
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
    """Return the key that decides the slot."""
    match command[0]:
        case "EVAL" | "EVALSHA":
            return str(command[3])
        case "XREAD":
            return str(command[list(command).index("STREAMS") + 1])
        case _:
            return str(command[1])


def _finder(url: str) -> Callable[[], Awaitable[Address]]:
    """Return a function that finds the server of this URL. Raises ValueError."""
    if url.startswith(SENTINEL_SCHEMES):
        query = url.partition("?")[2]
        tls = _context({**parse_url(f"rediss://any/?{query}")}) if url.startswith("rediss") else None
        return sentinels_of(url, tls).find
    address = address_of(url)

    async def configured_address() -> Address:
        return address

    return configured_address


def _context(options: dict[str, Any]) -> ssl.SSLContext:
    """Build the TLS context from redis-py's ssl_... arguments."""
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    if options.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if options.get("ssl_certfile"):
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    return context


def address_of(url: str) -> Address:
    """Parse a redis://, rediss:// or unix:// URL. Raises ValueError."""
    options: dict[str, Any] = {**parse_url(url)}
    context = _context(options) if url.startswith("rediss://") else None
    return Address(
        host=str(options.get("host") or "127.0.0.1"),
        port=int(options.get("port") or 6379),
        path=str(options.get("path") or ""),
        username=str(options.get("username") or ""),
        password=str(options.get("password") or ""),
        database=int(options.get("db") or 0),
        tls=context,
    )


def _error_text(error: Exception) -> str:
    """Return the text of an error reply as the server sent it. redis-py removes the first word of some."""
    if isinstance(error, errors.NoScriptError):
        return f"NOSCRIPT {error}"
    return str(error)


def _refusal(error: Exception) -> TowpathError:
    """Translate an error reply."""
    kind, sentence = _REFUSALS.get(_error_text(error).partition(" ")[0], (StateUnavailableError, AWAY))
    refused = kind(sentence)
    refused.__cause__ = error
    return refused


__all__ = ["Redis", "ReplyError", "Script", "address_of"]
