"""Frames of RFC 6455 as an envelope for bytes: what arrives, and what is sent. Pure.

Owns the syntax of frames. The boundaries of messages mean nothing: only the bytes of all data frames, in order, do.
"""

from typing import Final

BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10
_CONTINUATION: Final = 0
_MAX_CONTROL: Final = 125
_SIZE_16: Final = 126
_SIZE_64: Final = 127
_LONGEST_16: Final = 65535
_NO_KEY: Final = b"\0\0\0\0"

CLOSED: Final = bytes((0x80 | CLOSE, 0))


def head(opcode: int, size: int) -> bytes:
    """Return the head of a frame of a server."""
    first = 0x80 | opcode
    if size <= _MAX_CONTROL:
        return bytes((first, size))
    if size <= _LONGEST_16:
        return bytes((first, _SIZE_16)) + size.to_bytes(2, "big")
    return bytes((first, _SIZE_64)) + size.to_bytes(8, "big")


class Frames:
    """Takes apart what arrives. `pings`: payloads that are to be answered; `closed`: a close frame has arrived."""

    __slots__ = ("_at", "_head", "_key", "_left", "_masked", "closed", "pings")

    def __init__(self, *, masked: bool) -> None:
        """`masked`: whether frames must have a mask (those of a client) or must have none."""
        self._masked = masked
        self._head = b""
        self._key = _NO_KEY
        self._at = 0  # of the key's next byte
        self._left = 0  # bytes of the data frame that are still to come
        self.pings: list[bytes] = []
        self.closed = False

    def feed(self, data: memoryview) -> list[bytes | memoryview]:
        """Return the bytes of data frames in `data`, as parts of it. Raises ValueError for what is not allowed here."""
        left = self._left
        if left > len(data):  # the middle of a large frame
            self._left = left - len(data)
            return [self._unmasked(data)]
        parts = [self._unmasked(data[:left])] if left else []
        at = left
        self._left = 0
        while at < len(data) and not self.closed:
            need = self._missing()
            self._head += bytes(data[at : at + need])
            at += need
            if self._missing():
                continue
            self._begin()
            if self._left:
                part = data[at : at + self._left]
                at += len(part)
                self._left -= len(part)
                parts.append(self._unmasked(part))
        return parts

    def _missing(self) -> int:
        """Return how many bytes are missing of a head, or of a control frame."""
        head = self._head
        if len(head) < 2:  # noqa: PLR2004 - opcode and size
            return 2 - len(head)
        size = head[1] & 0x7F
        whole = (2 if size < _SIZE_16 else 4 if size == _SIZE_16 else 10) + (4 if head[1] & 0x80 else 0)
        if head[0] & 0x0F >= CLOSE:
            whole += size if size <= _MAX_CONTROL else 0
        return whole - len(head)

    def _begin(self) -> None:
        """Act on a complete head, or control frame."""
        head, self._head = self._head, b""
        opcode, size, masked = head[0] & 0x0F, head[1] & 0x7F, bool(head[1] & 0x80)
        if head[0] & 0x70 or masked is not self._masked:
            raise ValueError("a frame with an extension, or with the mask of the other side")
        at = 2 if size < _SIZE_16 else 4 if size == _SIZE_16 else 10
        key = head[at : at + 4] if masked else _NO_KEY
        if opcode in (BINARY, _CONTINUATION):
            self._key, self._at = key, 0
            self._left = size if size < _SIZE_16 else int.from_bytes(head[2:at], "big")
            return
        if size > _MAX_CONTROL or not head[0] & 0x80:
            raise ValueError("a control frame that is long, or in parts")
        if opcode == PING:
            self.pings.append(_xor(head[at + 4 if masked else at :], key, 0))
        elif opcode == CLOSE:
            self.closed = True
        elif opcode != PONG:
            raise ValueError("a frame of another kind")

    def _unmasked(self, data: memoryview) -> bytes | memoryview:
        """Return the next bytes of a data frame. Starters use the key 0, but a proxy may choose another."""
        if self._key == _NO_KEY:
            return data
        at = self._at
        self._at = (at + len(data)) % 4
        return _xor(bytes(data), self._key, at)


def _xor(data: bytes, key: bytes, at: int) -> bytes:
    if key == _NO_KEY or not data:
        return data
    size = len(data)
    turned = (key[at:] + key[:at]) * (size // 4 + 1)
    return (int.from_bytes(data, "big") ^ int.from_bytes(turned[:size], "big")).to_bytes(size, "big")
