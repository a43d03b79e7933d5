"""What the connections of one listener share: the handler, the limits, and the heads that were parsed lately."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

from gateway.wire.addresses import client_key
from gateway.wire.heads import Head
from gateway.wire.limits import ConnectionLimits
from gateway.wire.request import Request

log = logging.getLogger("towpath.wire")

_REMEMBERED: Final = 1024
_MINUTE: Final = 60.0


class Connection(Protocol):
    """A client connection, as its listener sees it."""

    peer: str

    def check(self, now: float) -> None:
        """End the connection if it has made no progress for too long."""

    def close_if_idle(self) -> None:
        """Close the connection if no request is under way."""

    def abort(self, *, reset: bool = False) -> None:
        """Close the connection at once."""


class ListenerContext:
    """The state of one listener.

    `heads`: parsed heads by their bytes after the first line. Browsers repeat theirs, and an edge proxy mixes requests
    of all users on its connections, so connections share them.
    """

    __slots__ = (
        "_by_address",
        "_minute_ends",
        "_refused",
        "_refused_last",
        "_uncounted",
        "connections",
        "draining",
        "handle",
        "heads",
        "limits",
        "loop",
        "now",
        "response_fields",
    )

    def __init__(
        self,
        handle: Callable[[Request], None],
        *,
        limits: ConnectionLimits,
        response_fields: bytes,
        uncounted: Callable[[str], bool],
    ) -> None:
        """`response_fields`: header lines that every response has. `uncounted`: `limits.per_address` does not apply."""
        self.handle = handle
        self.response_fields = response_fields
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time
        self.connections: set[Connection] = set()
        self.draining = False
        self.heads: dict[bytes, Head] = {}
        self._uncounted = uncounted
        self._by_address: Counter[str] = Counter()
        self._refused = 0  # connections within this minute
        self._refused_last = ""
        self._minute_ends = self.now() + _MINUTE

    def admit(self, connection: Connection) -> bool:
        """Add a connection, unless its address has too many already."""
        most = self.limits.per_address
        if most and not self._uncounted(connection.peer):
            key = client_key(connection.peer)
            if self._by_address[key] >= most:
                self._refused += 1
                self._refused_last = connection.peer
                return False
            self._by_address[key] += 1
        self.connections.add(connection)
        return True

    def dismiss(self, connection: Connection) -> None:
        """Remove a connection, if it was added."""
        if connection not in self.connections:
            return
        self.connections.discard(connection)
        if self._by_address:
            key = client_key(connection.peer)
            self._by_address[key] -= 1
            if self._by_address[key] <= 0:
                del self._by_address[key]

    def remember(self, block: bytes, head: Head) -> None:
        """Keep a parsed head."""
        if len(self.heads) >= _REMEMBERED:
            self.heads.clear()  # finding the oldest would cost more than parsing a head again
        self.heads[block] = head

    def check(self, now: float) -> None:
        """Check all connections, and drop the heads once a minute. Called about once a second.

        Heads contain credentials, which must not stay in memory for long.
        """
        for connection in list(self.connections):
            connection.check(now)
        if now > self._minute_ends:
            self._minute_ends = now + _MINUTE
            self.heads.clear()
            if self._refused:
                log.warning(
                    "Connections refused: too many from one address refused=%d address=%s",
                    self._refused,
                    self._refused_last,
                )
                self._refused = 0
