"""The client of a Redis Cluster.

Owns redis-py, which knows the hash slots and follows them. Its errors leave here as OSError, its error replies as
values. Does not know scripts or the meaning of error replies.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import redis.exceptions as errors
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from state.redis.connection import Command, ReplyError
from state.redis.server import WAIT_MARGIN

AT_ONCE: Final = 64
"""Commands under way, and so connections, per process. More callers wait: a thousand connections that are opened at one
moment take longer than each of them may."""
_FAILURES: Final = (OSError, errors.RedisError, errors.RedisClusterException)
"""Everything that redis-py raises. The errors of its cluster client have a base class of their own."""


class Cluster:
    """A Redis Cluster, with redis-py's client, which follows the slots. A command is never sent twice."""

    one_server = False

    def __init__(self, url: str) -> None:
        self._quick = self._client(url, seconds=3.0)
        self._slow = self._client(url, seconds=None)
        self._turns = asyncio.Semaphore(AT_ONCE)
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
        """Send commands and return the replies in order. Error replies are returned as values."""
        if len(commands) == 1:
            return [await self._in_turn(commands[0])]
        return await asyncio.gather(*[self._in_turn(command) for command in commands])

    async def wait(self, command: Command, seconds: float) -> Any:
        """Run a blocking command on a separate connection."""
        async with asyncio.timeout(seconds + WAIT_MARGIN):
            return await self._one(self._slow, command)

    async def scan(self, match: str, count: int) -> AsyncIterator[list[bytes]]:
        """Yield names of keys in batches. A name may occur twice (SCAN)."""
        try:
            _ = await self._quick.initialize()
            for node in self._quick.get_primaries():
                cursor: Any = 0
                while True:
                    cursor, names = await node.execute_command("SCAN", cursor, "MATCH", match, "COUNT", count)
                    if names:
                        yield names
                    if int(cursor) == 0:
                        break
        except _FAILURES as error:
            raise _lost(error) from error

    async def close(self) -> None:
        """Close every connection."""
        await self._quick.aclose()
        await self._slow.aclose()

    async def _in_turn(self, command: Command) -> Any:
        async with self._turns:
            return await self._one(self._quick, command)

    async def _one(self, client: RedisCluster, command: Command) -> Any:
        try:
            _ = await client.initialize()
            node = client.nodes_manager.get_node_from_slot(client.keyslot(_key_of(command)))
            return await client.execute_command(*command, target_nodes=node)
        except errors.ResponseError as error:
            # redis-py removes the first word of some errors
            return ReplyError(f"NOSCRIPT {error}" if isinstance(error, errors.NoScriptError) else str(error))
        except _FAILURES as error:
            self.losses += 1
            raise _lost(error) from error


def _lost(error: Exception) -> OSError:
    """Return redis-py's error as one of a connection."""
    return error if isinstance(error, OSError) else ConnectionError(str(error))


def _key_of(command: Command) -> str:
    """Return the key that decides the slot."""
    match command[0]:
        case "EVAL" | "EVALSHA":
            return str(command[3])
        case "XREAD":
            return str(command[list(command).index("STREAMS") + 1])
        case _:
            return str(command[1])
