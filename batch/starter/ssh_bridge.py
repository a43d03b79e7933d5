"""Carries the bytes of one SSH connection between its WebSocket and sshd's socket."""

import select
import struct
import time

from batch.starter.ssh_websocket import CLOSE, PING, PONG, Frames, frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

CLOSE_SECONDS = 2.0
"""How long the other side may take to answer a close frame."""
READ_SIZE = 131072
NORMAL = struct.pack("!H", 1000)
GOING_AWAY = struct.pack("!H", 1001) + b"the job has ended"


class Bridge:
    """Carries bytes between a WebSocket (`web`) and a plain socket (`plain`), unless one side does not take them."""

    def __init__(self, web: "_socket.socket", plain: "_socket.socket", lifeline: int) -> None:
        self.web = web
        self.plain = plain
        self.lifeline = lifeline
        self.frames = Frames()
        self.to_web = b""
        self.to_plain = b""
        self.closing_until = 0.0  # our close frame is sent; 0: it is not

    def run(self, first: bytes) -> None:
        """Run until one side ends. `first`: what has arrived from the WebSocket already."""
        self.web.setblocking(False)
        self.plain.setblocking(False)
        try:
            self.take(first)
            while not self.is_over():
                self.step()
        except (OSError, ValueError):
            return  # a side has ended, or does not follow the protocol

    def is_over(self) -> bool:
        """Return whether nothing is left to do."""
        if not self.closing_until:
            return False
        return time.monotonic() > self.closing_until or (self.frames.closed and not self.to_web)

    def events(self) -> "tuple[int, int]":
        """Return which events of the WebSocket and of the plain side are of use now."""
        web = (select.POLLRDHUP if self.to_plain else select.POLLIN) | (select.POLLOUT if self.to_web else 0)
        if self.closing_until:
            return web, 0
        return web, (0 if self.to_web else select.POLLIN) | (select.POLLOUT if self.to_plain else 0)

    def step(self) -> None:
        """Wait for a side, and move bytes."""
        poll = select.poll()
        if not self.closing_until:
            poll.register(self.lifeline, select.POLLIN)
        web, plain = self.events()
        for sock, events in ((self.web, web), (self.plain, plain)):
            if events:
                poll.register(sock.fileno(), events)
        ready = dict(poll.poll(CLOSE_SECONDS * 1000 if self.closing_until else None))
        if self.lifeline in ready:
            self.close(GOING_AWAY)
            return
        on_web, on_plain = ready.get(self.web.fileno(), 0), ready.get(self.plain.fileno(), 0)
        if on_web & select.POLLOUT:
            self.to_web = send(self.web, self.to_web)
        if on_plain & select.POLLOUT:
            self.to_plain = send(self.plain, self.to_plain)
        if on_web & ~select.POLLOUT:
            data = self.web.recv(READ_SIZE) if web & select.POLLIN else b""
            if not data:
                raise ValueError("the WebSocket has ended")
            self.take(data)
        if on_plain & ~select.POLLOUT and plain & select.POLLIN and not self.to_web and not self.closing_until:
            self.give()

    def take(self, data: bytes) -> None:
        """Handle bytes of the WebSocket."""
        payload, controls = self.frames.feed(data)
        if payload and not self.closing_until:
            self.to_plain = send(self.plain, self.to_plain + payload)
        for opcode, content in controls:
            if opcode == PING:
                self.to_web += frame(PONG, content)
            elif opcode == CLOSE:
                self.close(content[:2])
        if self.to_web:
            self.to_web = send(self.web, self.to_web)

    def give(self) -> None:
        """Pass on what the plain side says, or its end."""
        try:
            data = self.plain.recv(READ_SIZE)
        except ConnectionResetError:
            data = b""
        if data:
            self.to_web = send(self.web, self.to_web + frame(2, data))
        else:
            self.close(NORMAL)

    def close(self, code: bytes) -> None:
        """Send our close frame, once. The other side answers it, or has sent its own."""
        if not self.closing_until:
            self.closing_until = time.monotonic() + CLOSE_SECONDS
            self.to_web = send(self.web, self.to_web + frame(CLOSE, code))


def send(sock: "_socket.socket", data: bytes) -> bytes:
    """Send what a socket takes now; return the rest."""
    if not data:
        return data
    try:
        return data[sock.send(data) :]
    except BlockingIOError:
        return data
