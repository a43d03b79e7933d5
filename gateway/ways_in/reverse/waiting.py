"""The connections of starters that wait in this worker for a request.

Owns how many there may be, and who gets the next one. Does not know how a stream is used, or which other workers have
some.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Final

from gateway.ways_in.reverse.stream import FramedStream, TlsStream

PER_NODE: Final = 32
"""Most connections of one attempt that wait here, or have not proven themselves yet."""
HANDSHAKE_SECONDS: Final = 10.0
SILENT_SECONDS: Final = 65.0
"""Starters send a ping every 20 seconds."""


def _nobody(_name: str) -> None:
    """Do nothing."""


class WaitingStreams:
    """By the name that the node must prove, which contains the attempt. Used from one event loop.

    `on_arrival` is called with a name when a first connection waits for it.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._streams: dict[str, dict[TlsStream, None]] = {}  # those not used yet, oldest first
        self._prefixes: dict[str, str] = {}  # of a name
        self._names: dict[str, set[str]] = {}  # of a prefix
        self._waiters: dict[str, deque[asyncio.Future[TlsStream]]] = {}
        self.on_arrival: Callable[[str], None] = _nobody
        self.closed = False

    def has_room(self, name: str) -> bool:
        """Return whether one more connection of this node may wait."""
        return not self.closed and len(self._streams.get(name, ())) < PER_NODE

    def add(self, stream: TlsStream, prefix: str) -> None:
        """Keep a stream whose node has yet to prove itself. `prefix`: the path of its server."""
        if stream.name not in self._streams:
            self._streams[stream.name] = {}
            self._prefixes[stream.name] = prefix
            self._names.setdefault(prefix, set()).add(stream.name)
        self._streams[stream.name][stream] = None
        self._loop.call_later(HANDSHAKE_SECONDS, self._check, stream)

    def _check(self, stream: TlsStream) -> None:
        """Close it if its node has not proven itself in time, or is silent."""
        if stream not in self._streams.get(stream.name, ()):
            return
        silent = self._loop.time() - stream.last_received
        if not stream.waits or silent > SILENT_SECONDS:
            stream.abort()
        else:
            self._loop.call_later(SILENT_SECONDS - silent + 1.0, self._check, stream)

    def arrived(self, stream: TlsStream) -> None:
        """Give a stream, whose node has proven itself, to the one who has waited longest; else it waits."""
        waiters = self._waiters.get(stream.name)
        while waiters:
            waiter = waiters.popleft()
            if not waiter.done():
                self._remove(stream)
                waiter.set_result(stream)
                return
        self.on_arrival(stream.name)

    def ended(self, stream: FramedStream) -> None:
        """Forget a stream."""
        if isinstance(stream, TlsStream):
            self._remove(stream)

    def _remove(self, stream: TlsStream) -> None:
        streams = self._streams.get(stream.name)
        if streams is not None:
            streams.pop(stream, None)
            if not streams:
                del self._streams[stream.name]
                prefix = self._prefixes.pop(stream.name)
                names = self._names[prefix]
                names.discard(stream.name)
                if not names:
                    del self._names[prefix]

    def take(self, name: str) -> TlsStream | None:
        """Return a stream that waits, or None. The newest one: its connection is the least likely to be gone."""
        for stream in reversed(self._streams.get(name, {})):
            if stream.waits:
                self._remove(stream)
                return stream
        return None

    async def wait(self, name: str, *, seconds: float) -> TlsStream | None:
        """Return the next stream that arrives within so many seconds, or None."""
        waiter: asyncio.Future[TlsStream] = self._loop.create_future()
        waiters = self._waiters.setdefault(name, deque())
        waiters.append(waiter)
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(waiter)
        except TimeoutError:
            if waiter.done() and not waiter.cancelled():
                return waiter.result()
            return None
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                waiter.result().close()  # nobody else can know that it is still unused
            raise
        finally:
            waiter.cancel()
            with contextlib.suppress(ValueError):
                waiters.remove(waiter)
            if not waiters:
                self._waiters.pop(name, None)

    def names(self) -> list[str]:
        """Return the names for which a stream waits."""
        return [name for name, streams in self._streams.items() if any(stream.waits for stream in streams)]

    def drop(self, prefix: str, *, keep: str = "") -> None:
        """Close what waits for a server, except under the name `keep`."""
        for name in self._names.get(prefix, set()) - {keep}:
            for stream in list(self._streams.get(name, ())):
                stream.close()

    def close(self) -> None:
        """Close all that wait, and accept no more."""
        self.closed = True
        for prefix in list(self._names):
            self.drop(prefix)
