"""A stream through another worker: the question for one, the answer, and the pump between the two connections.

    one that asks -> the name of a node, and a line feed
    the other     -> "+": the rest of the connection is a stream to that node, in frames; "-": there is none

A stream in frames has an end of its own, so that one which breaks is not taken for complete.
"""

import asyncio
from collections.abc import Callable
from typing import Final, cast

from gateway.ways_in.reverse.stream import FramedStream
from gateway.ways_in.reverse.waiting import WaitingStreams

ASK_SECONDS: Final = 5.0
_NAME_MAX: Final = 100


class PeerClient(asyncio.Protocol):
    """The side that asks. `answer`: the stream, or None."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.answer: asyncio.Future[FramedStream | None] = asyncio.get_running_loop().create_future()
        self._transport = cast("asyncio.Transport", None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self.name.encode() + b"\n")

    def give_up(self) -> None:
        """Wait no longer for the answer."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take the answer."""
        if self.answer.done() or data != b"+":
            self._transport.abort()
            return
        stream = FramedStream(self._transport, masked=False)
        stream.start()
        self.answer.set_result(stream)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """There is no stream."""
        if not self.answer.done():
            self.answer.set_result(None)


class PeerAcceptor(asyncio.Protocol):
    """The side that is asked."""

    def __init__(self, waiting: WaitingStreams, trusts: Callable[[asyncio.Transport], bool]) -> None:
        """`trusts`: whether the other end has proven to be a gateway of this hub."""
        self._waiting = waiting
        self._trusts = trusts
        self._line = b""
        self._transport = cast("asyncio.Transport", None)
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the question."""
        self._transport = cast("asyncio.Transport", transport)
        if self._trusts(self._transport):
            self._timer = asyncio.get_running_loop().call_later(ASK_SECONDS, self._transport.abort)
        else:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take the question, and give a stream if one waits."""
        self._line += data
        if self._timer is None or not self._line.endswith(b"\n"):
            if len(self._line) > _NAME_MAX:
                self._transport.abort()
            return
        self._timer.cancel()
        stream = self._waiting.take(self._line[:-1].decode("latin-1"))
        if stream is None:
            self._transport.write(b"-")
            self._transport.close()
            return
        self._transport.write(b"+")
        link = FramedStream(self._transport, masked=False)
        link.attach(Pump(stream))
        stream.attach(Pump(link))
        link.start()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget it."""
        if self._timer is not None:
            self._timer.cancel()


class Pump(asyncio.Protocol):
    """Passes what one stream receives on to another."""

    def __init__(self, to: FramedStream) -> None:
        self._to = to

    def data_received(self, data: bytes) -> None:
        """Pass on."""
        self._to.write(data)

    def pause_writing(self) -> None:
        """Our own stream is slow: read no more from the other."""
        self._to.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._to.resume_reading()

    def eof_received(self) -> None:
        """End the other after everything was passed on, and with it our own."""
        self._to.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the other: as a stream that broke, if ours did."""
        if exc is None:
            self._to.close()
        else:
            self._to.abort()
