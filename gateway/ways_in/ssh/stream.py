"""A channel of an SSH connection as a transport, which the tunnel uses like that of a socket.

Owns what the two do not have in common: asyncssh's channels report their end only when the host has confirmed it, write
without regard to what waits in the connection below, and deliver bytes inside `resume_reading`.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Protocol


class Channel(Protocol):
    """What is used of `asyncssh.SSHUNIXChannel`."""

    def write(self, data: bytes) -> None:
        """Send."""

    def write_eof(self) -> None:
        """Send no more."""

    def close(self) -> None:
        """Send what waits, then close."""

    def abort(self) -> None:
        """Close now."""

    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        ...

    def pause_reading(self) -> None:
        """Deliver no more for now."""

    def resume_reading(self) -> None:
        """Go on."""

    def get_write_buffer_size(self) -> int:
        """How much waits for the host's window."""
        ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set when writing is paused."""


class Stream(asyncio.Transport):
    """See the module. For asyncssh it is the channel's session, for the tunnel the protocol's transport."""

    __slots__ = (
        "_channel",
        "_channel_full",
        "_closing",
        "_ended",
        "_feed",
        "_link_full",
        "_loop",
        "_paused",
        "_protocol",
    )

    def __init__(self, protocol: asyncio.Protocol, ended: "Callable[[Stream], None]", *, link_full: bool) -> None:
        """`ended` is called once, when the stream has ended. `link_full`: see `link_paused`."""
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._protocol = protocol
        self._feed = protocol.data_received
        self._ended: Callable[[Stream], None] | None = ended
        self._channel: Channel | None = None
        self._closing = False
        self._paused = False
        self._channel_full = False
        self._link_full = link_full

    # --- the channel's side

    def connection_made(self, channel: Channel) -> None:
        """Take the channel, which is open."""
        self._channel = channel
        self._protocol.connection_made(self)
        if self._link_full and self._ended is not None:
            self._protocol.pause_writing()

    def session_started(self) -> None:
        """Nothing is left to do."""

    def data_received(self, data: bytes, _: int | None) -> None:
        """Pass bytes on."""
        if not self._closing:
            self._feed(data)

    def eof_received(self) -> bool:
        """Let the protocol decide whether the other direction stays open."""
        if not self._protocol.eof_received():
            self.close()
        return True

    def pause_writing(self) -> None:
        """The app takes nothing more for now."""
        self._channel_full = True
        if not self._link_full and self._ended is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """It takes more."""
        self._channel_full = False
        if not self._link_full and self._ended is not None:
            self._protocol.resume_writing()

    def link_paused(self, full: bool) -> None:  # noqa: FBT001 - a state
        """The connection below takes nothing more for now, or takes more."""
        if full is self._link_full or self._ended is None:
            return
        self._link_full = full
        if self._channel is None or self._channel_full:
            return
        if full:
            self._protocol.pause_writing()
        else:
            self._protocol.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the protocol, once. A connection that broke is a broken pipe to it, whatever the reason was."""
        ended, self._ended = self._ended, None
        if ended is None:
            return
        self._closing = True
        ended(self)
        self._protocol.connection_lost(None if error is None else ConnectionResetError(str(error)))

    # --- the transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See asyncio."""
        if data and not self._closing and self._channel is not None:
            if self._channel.is_closing():  # the host has closed it, and will tell us in a moment
                return
            self._channel.write(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """See asyncio."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """See asyncio."""
        return True

    def write_eof(self) -> None:
        """See asyncio."""
        if not self._closing and self._channel is not None:
            self._channel.write_eof()

    def is_closing(self) -> bool:
        """See asyncio."""
        return self._closing or self._channel is None or self._channel.is_closing()

    def close(self) -> None:
        """See asyncio."""
        if not self._closing and self._channel is not None:
            self._closing = True
            self._channel.close()

    def abort(self) -> None:
        """See asyncio. A host that does not answer any more must not delay the end."""
        self._closing = True
        if self._channel is not None:
            self._channel.abort()
        if self._ended is not None:
            self._loop.call_soon(self.connection_lost, None)

    def pause_reading(self) -> None:
        """See asyncio."""
        if not self._closing and self._channel is not None:
            self._paused = True
            self._channel.pause_reading()

    def resume_reading(self) -> None:
        """See asyncio. What has arrived is delivered by the event loop, not inside this call."""
        if self._paused:
            self._paused = False
            self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        if not self._paused and not self._closing and self._channel is not None:
            self._channel.resume_reading()

    def is_reading(self) -> bool:
        """See asyncio."""
        return not self._paused and not self._closing

    def get_write_buffer_size(self) -> int:
        """See asyncio."""
        return 0 if self._channel is None else self._channel.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See asyncio."""
        if self._channel is not None:
            self._channel.set_write_buffer_limits(high, low)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """See asyncio."""
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol
        self._feed = protocol.data_received

    def get_protocol(self) -> asyncio.BaseProtocol:
        """See asyncio."""
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ARG002 - asyncio's signature
        """See asyncio: there is no socket of its own."""
        return default
