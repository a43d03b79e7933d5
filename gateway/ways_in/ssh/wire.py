"""What is below an SSH connection: the TCP connection, or a channel of the connection to a jump host.

Owns who gets what arrives: asyncssh, or the shorter way for the bytes of streams (`gateway.ways_in.ssh.packets`).
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

from gateway.ways_in.ssh.packets import FastPath

READ_SIZE: Final = 256 * 1024
"""Twice the largest packet that the shorter way takes."""
PIECE: Final = 48 * 1024
"""What asyncssh gets at once, where it gets everything: it copies what it holds for each packet."""

R = TypeVar("R")


class Wire(asyncio.BufferedProtocol):
    """The TCP connection's protocol: passes on what arrives."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._buffer = memoryview(bytearray(READ_SIZE))
        self._held = 0  # bytes at the beginning of the buffer: a part of a packet
        self._fast: FastPath | None = None

    def authenticated(self) -> None:
        """Use the shorter way from here on, if there is one."""
        self._fast = FastPath.of(self._connection)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._connection.connection_made(transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """See asyncio."""
        if self._fast is None:
            return self._buffer[:PIECE]
        return self._buffer[self._held :]

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio."""
        size, fast = self._held + nbytes, self._fast
        if fast is None or (not self._held and not fast.between_packets()):
            self._held = 0
            self._connection.data_received(bytes(self._buffer[:size]))
            return
        taken = fast.take(self._buffer[:size])
        self._held = size - taken
        if taken and self._held:
            self._buffer[: self._held] = bytes(self._buffer[taken:size])

    def eof_received(self) -> None:
        """See asyncio."""
        self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """See asyncio."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """See asyncio."""
        self._connection.resume_writing()


class _Inner:
    """A channel to the next host as what is below the connection to it (asyncssh's SSHTCPSession)."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def connection_made(self, channel: Any) -> None:
        """Begin."""
        self._wire.connection_made(channel)

    def session_started(self) -> None:
        """Nothing is left to do."""

    def data_received(self, data: bytes, _: int | None) -> None:
        """Pass bytes on."""
        view = memoryview(data)
        while view:
            room = self._wire.get_buffer(len(view))
            size = min(len(room), len(view))
            room[:size] = view[:size]
            self._wire.buffer_updated(size)
            view = view[size:]

    def eof_received(self) -> bool:
        """Pass the end on."""
        self._wire.eof_received()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass the end on."""
        self._wire.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass it on."""
        self._wire.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._wire.resume_writing()


class Dialler:
    """Opens what is below an SSH connection in asyncssh's place, where that takes a connection to go through."""

    def __init__(self, through: Any = None) -> None:
        """`through`: the connection to a jump host; None: TCP."""
        self._through = through
        self._wire: Wire | None = None

    async def create_connection(
        self, factory: Callable[[], R], host: str, port: int
    ) -> tuple[asyncio.BaseTransport, R]:
        """Connect, and return the transport and what the factory has made. Raises OSError, asyncssh.Error."""
        made = factory()
        wire = self._wire = Wire(made)
        if self._through is not None:
            channel, _ = await self._through.create_connection(lambda: _Inner(wire), host, port)
            return channel, made
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: wire, host, port)
        return transport, made

    def authenticated(self) -> None:
        """Note that the connection is authenticated."""
        if self._wire is not None:
            self._wire.authenticated()
