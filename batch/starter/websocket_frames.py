"""Frames of the WebSocket that the starter opens to the hub (RFC 6455 section 5): what arrives, and what is sent. Pure.

The key of the mask is 0. A mask is there so that nobody can choose the bytes that proxies see (section 10.3); here they
are encrypted.
"""

import ssl

BINARY, CLOSE, PING, PONG = 2, 8, 9, 10
CONTINUATION = 0
MAX_CONTROL = 125
NO_KEY = b"\0\0\0\0"


def frame(opcode: int, payload: bytes) -> bytes:
    """Return a whole frame of a client."""
    size = len(payload)
    if size <= MAX_CONTROL:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 65536:
        head = bytes((0x80 | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0x80 | 127)) + size.to_bytes(8, "big")
    return head + NO_KEY + payload


class Frames:
    """Splits what arrives from the hub. `payload` gets the bytes of data frames."""

    def __init__(self, payload: "ssl.MemoryBIO") -> None:
        self.payload = payload
        self.head = b""  # the beginning of a head, or of a control frame
        self.left = 0  # bytes of the data frame that are still to come
        self.ended = False  # a close frame has arrived
        self.replies = b""  # frames that answer pings

    def feed(self, data: "bytes | memoryview") -> None:
        """Take what has arrived. Raises ValueError for what is not allowed here."""
        view = memoryview(data)
        while view and not self.ended:
            if self.left:
                part = view[: self.left]
                self.payload.write(part)
                self.left -= len(part)
                view = view[len(part) :]
                continue
            need = self.missing()
            self.head += bytes(view[:need])
            view = view[need:]
            if not self.missing():
                self.begin()

    def missing(self) -> int:
        """Return how many bytes are still needed of a head, or of a control frame."""
        head = self.head
        if len(head) < 2:
            return 2 - len(head)
        size = head[1]
        if head[0] & 0x0F >= CLOSE and size <= MAX_CONTROL:
            return 2 + size - len(head)
        return {126: 4, 127: 10}.get(size, 2) - len(head)

    def begin(self) -> None:
        """Act on a complete head or control frame."""
        head, self.head = self.head, b""
        opcode, size = head[0] & 0x0F, head[1]
        if head[0] & 0x70 or size > 127:
            raise ValueError("a frame with an extension, or with a mask")
        if opcode >= CLOSE and size > MAX_CONTROL:
            raise ValueError("a control frame that is too long")
        if opcode in (BINARY, CONTINUATION):
            self.left = size if size < 126 else int.from_bytes(head[2:], "big")
        elif opcode == CLOSE:
            self.ended = True
        elif opcode == PING:
            self.replies += frame(PONG, head[2:])
        elif opcode != PONG:
            raise ValueError("a frame of another kind")


class FramedIn:
    """In place of the memory that TLS reads from: takes frames."""

    __slots__ = ("frames", "memory")

    def __init__(self, memory: "ssl.MemoryBIO") -> None:
        self.memory = memory
        self.frames = Frames(memory)

    @property
    def pending(self) -> int:
        """Return how many bytes TLS can read."""
        return self.memory.pending

    def write(self, data: "bytes | memoryview") -> None:
        """Take what has arrived. Raises ValueError."""
        self.frames.feed(data)
        if self.frames.ended:
            self.memory.write_eof()

    def write_eof(self) -> None:
        """Note that nothing more will arrive."""
        self.memory.write_eof()


class FramedOut:
    """In place of the memory that TLS writes to: gives frames."""

    __slots__ = ("frames", "last", "memory")

    def __init__(self, memory: "ssl.MemoryBIO", frames: Frames) -> None:
        self.memory = memory
        self.frames = frames
        self.last = b""  # the close frame, to be sent behind everything else

    @property
    def pending(self) -> int:
        """Return how much there is to send."""
        return len(self.frames.replies) + self.memory.pending + len(self.last)

    def read(self) -> bytes:
        """Return what is to be sent now."""
        first, self.frames.replies = self.frames.replies, b""
        last, self.last = self.last, b""
        data = self.memory.read()
        return first + (frame(BINARY, data) if data else b"") + last
