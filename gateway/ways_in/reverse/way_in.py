"""The way in `reverse`, for one worker: which waiting connection a stream uses.

Owns the order: one that waits here, one of another worker or gateway, or the next that arrives. Which attempt a
connection belongs to is checked twice: by its token before it is accepted, and by the certificate of its node.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final, Protocol

from gateway.ways_in.contract import P
from gateway.ways_in.errors import WayInError
from gateway.ways_in.identity import GatewayIdentity
from gateway.ways_in.reverse.stream import FramedStream, TlsStream
from gateway.ways_in.reverse.waiting import WaitingStreams
from state.records.models import Endpoint, Route

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 0.5
"""Seconds between two questions to others."""


class Peers(Protocol):
    """The other workers and gateways of the hub."""

    async def take(self, name: str) -> FramedStream | None:
        """Return a stream through one of them that holds a waiting connection of this node, or None."""
        ...

    async def close(self) -> None:
        """Withdraw, and close what is kept open."""
        ...


class ReverseWayIn:
    """See `gateway.ways_in.contract.WayIn`: endpoints of kind `reverse`."""

    def __init__(self, identity: GatewayIdentity, waiting: WaitingStreams, peers: Peers | None = None) -> None:
        """`peers` None: there is no other worker."""
        self._identity = identity
        self._waiting = waiting
        self._peers = peers

    def has_room(self, name: str) -> bool:
        """Return whether one more connection of this node may wait here."""
        return self._waiting.has_room(name)

    async def context(self) -> ssl.SSLContext:
        """Return the context with which this gateway proves itself to nodes. Raises WayInError."""
        return await self._identity.context()

    def accept(
        self, lower: asyncio.Transport, early: bytes, *, name: str, prefix: str, context: ssl.SSLContext
    ) -> None:
        """Take a connection with an open WebSocket, of the job whose node must prove `name`.

        `early`: what has arrived behind the handshake. `prefix`: the path of its server.
        """
        waiting = self._waiting
        stream = TlsStream(lower, context, name, proven=waiting.arrived, ended=waiting.ended)
        waiting.add(stream, prefix)
        stream.begin()
        stream.start(early)

    async def open(self, endpoint: Endpoint, protocol: Callable[[], P]) -> P:
        """See the contract."""
        name = endpoint.name
        if not name:
            raise WayInError("refused", "the endpoint does not say whom the node must prove to be")
        pause = FIRST_PAUSE
        while True:
            stream: FramedStream | None = self._waiting.take(name)
            if stream is None and self._peers is not None:
                stream = await self._peers.take(name)
            if stream is None:
                stream = await self._waiting.wait(name, seconds=pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            if stream is not None and stream.usable:
                made = protocol()
                stream.attach(made)
                return made

    def route_changed(self, prefix: str, route: Route | None) -> None:
        """Close what waits for an attempt of the server that has ended, or has lost its route for another reason.

        A job that keeps running connects again.
        """
        self._waiting.drop(prefix, keep=route.endpoint.name if route is not None else "")

    async def withdraw(self) -> None:
        """Close what waits here, so that jobs connect to others. Streams that are open stay."""
        if self._peers is not None:
            await self._peers.close()
        self._waiting.close()

    async def close(self) -> None:
        """See the contract."""
        await self.withdraw()
