"""The only access to Redis: commands, scripts and the translation of errors.

Does not know how a server is reached (`server`, `cluster`), keys, records or what a script does. Replies are RESP2, not
decoded.
"""

import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, Protocol

from state.errors import BadRecordError, ConflictError, FencedError, LimitError, StateUnavailableError, TowpathError
from state.redis.connection import Argument, Command, ReplyError
from state.redis.damage import Damage
from state.redis.server import SingleServer
from state.redis.urls import CLUSTER_SCHEMES, finder
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
FIELDS_COUNT: Final = 256
"""Buckets of a hash that one step looks at."""
SCAN_COUNT: Final = 300
"""Keys per step of a scan. A step takes the server less than a millisecond."""

_FAILURES: Final = (OSError, ReplyError)
"""Everything that a transport raises."""

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


class Transport(Protocol):
    """The interface of a single server and of a cluster. Raises OSError, and ReplyError for a scan."""

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

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.damage = Damage()

    @classmethod
    async def open(cls, url: str) -> "Redis":
        """Connect and ping. Raises StateUnavailableError, and ValueError for an invalid URL."""
        opened = cls(_cluster(url) if url.startswith(CLUSTER_SCHEMES) else SingleServer(finder(url)))
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

    async def call(self, *command: Argument) -> Any:
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

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument] = ()) -> Any:
        """Run a script atomically. All `keys` share one hash tag.

        Raises StateUnavailableError, or the script's refusal: ConflictError, FencedError, BadRecordError or LimitError.
        """
        return (await self.run_many(script, ((keys, args),)))[0]

    async def run_many(self, script: Script, calls: Sequence[tuple[Sequence[str], Sequence[Argument]]]) -> list[Any]:
        """Run a script for several (keys, args), pipelined in parts. Each run is atomic. Raises as `run` does."""
        if len(calls) > PART:
            return [reply for part in parts(calls) for reply in await self.run_many(script, part)]
        if not calls:
            return []
        tails = [(len(keys), *keys, *args) for keys, args in calls]
        try:
            replies = await self._transport.send([("EVALSHA", script.sha, *tail) for tail in tails])
            for at, reply in enumerate(replies):
                if isinstance(reply, Exception) and str(reply).startswith("NOSCRIPT"):
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

    async def wait(self, *command: Argument, seconds: float) -> Any:
        """Run a command that blocks for up to `seconds`, on a separate connection. Raises StateUnavailableError."""
        try:
            reply = await self._transport.wait(command, seconds)
        except _FAILURES as error:
            raise StateUnavailableError(AWAY) from error
        if isinstance(reply, Exception):
            raise _refusal(reply)
        return reply


def _cluster(url: str) -> Transport:
    """Load redis-py only for a cluster: it takes a fifth of a second, in every process."""
    from state.redis.cluster import Cluster  # noqa: PLC0415 - see above

    return Cluster(url)


def _refusal(error: Exception) -> TowpathError:
    """Translate an error reply."""
    kind, sentence = _REFUSALS.get(str(error).partition(" ")[0], (StateUnavailableError, AWAY))
    refused = kind(sentence)
    refused.__cause__ = error
    return refused


__all__ = ["Redis", "ReplyError", "Script"]
