"""The server's side of a WebSocket, as far as one is needed here (RFC 6455). Pure.

Text and binary frames are one stream of bytes: their boundaries mean nothing. No extension is offered.
"""

import base64
import struct

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CLOSE, PING, PONG = 8, 9, 10
CONTINUATION, TEXT, BINARY = 0, 1, 2
MAX_CONTROL = 125
MAX_FRAME = 1 << 31
MAX_HEAD = 14
KEY_BYTES = 16


def fields_of(head: bytes) -> "dict[str, str]":
    """Return the fields of a request's head by lowercase name. Of a repeated one, none is kept."""
    found: "dict[str, str]" = {}
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        name = name.strip().lower()
        found[name] = "" if name in found else value.strip()
    return found


def accept_value(key: str) -> str:
    """Return Sec-WebSocket-Accept for a client's key; `""`: it is not a key."""
    from hashlib import sha1

    try:
        if len(base64.b64decode(key.encode("ascii"))) != KEY_BYTES:
            return ""
    except (ValueError, UnicodeError):
        return ""
    answer = sha1((key + GUID).encode("ascii"))  # noqa: S324 - the protocol requires it; it does not protect a secret
    return base64.b64encode(answer.digest()).decode("ascii")


def frame(opcode: int, payload: bytes) -> bytes:
    """Return one whole frame to the client, unmasked."""
    size = len(payload)
    first = 0x80 | opcode
    if size <= 125:
        return struct.pack("!BB", first, size) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


def unmasked(data: bytes, mask: bytes, offset: int) -> bytes:
    """Return the bytes of a payload. `offset`: their place in it, as far as the mask is concerned."""
    shift = offset % 4
    size = len(data)
    turned = mask[shift:] + mask[:shift]
    pattern = (turned * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(pattern, "big")).to_bytes(size, "big")


class Frames:
    """Reads a client's frames. Raises ValueError for bytes that are none."""

    def __init__(self) -> None:
        self.buffer = b""
        self.at = 0  # what is before it in the buffer has been read
        self.opcode = -1  # of the frame whose payload is read; -1: a head is next
        self.mask = b""
        self.size = 0
        self.taken = 0  # bytes of the payload that have been read
        self.closed = False  # a close frame has arrived

    def feed(self, data: bytes) -> "tuple[bytes, list[tuple[int, bytes]]]":
        """Return the data that has arrived, and the control frames."""
        self.buffer = self.buffer + data if self.buffer else data
        self.at = 0
        parts: "list[bytes]" = []
        controls: "list[tuple[int, bytes]]" = []
        while not self.closed:
            if self.opcode < 0 and not self.read_head():
                break
            left = self.size - self.taken
            if self.opcode >= CLOSE and len(self.buffer) - self.at < left:
                break  # a control frame is read whole
            part = self.buffer[self.at : self.at + left]
            self.at += len(part)
            plain = unmasked(part, self.mask, self.taken)
            self.taken += len(part)
            if self.opcode >= CLOSE:
                controls.append((self.opcode, plain))
                self.closed = self.opcode == CLOSE
            else:
                parts.append(plain)
            if self.taken < self.size:
                break
            self.opcode = -1
        self.buffer = self.buffer[self.at :]
        return b"".join(parts), controls

    def read_head(self) -> bool:
        """Read the head of the next frame, if it is there."""
        buffer = self.buffer[self.at : self.at + MAX_HEAD]
        if len(buffer) < 2:
            return False
        opcode, size = buffer[0] & 0x0F, buffer[1] & 0x7F
        if buffer[0] & 0x70 or not buffer[1] & 0x80:
            raise ValueError("a frame with an extension, or without a mask")
        if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise ValueError("a frame of an unknown kind")
        if opcode >= CLOSE and (size > MAX_CONTROL or not buffer[0] & 0x80):
            raise ValueError("a control frame that is too long, or in pieces")
        more = {126: 2, 127: 8}.get(size, 0)
        if len(buffer) < 2 + more + 4:
            return False
        if more:
            size = int.from_bytes(buffer[2 : 2 + more], "big")
        if size > MAX_FRAME:
            raise ValueError("a frame that is too long")
        self.opcode, self.size, self.taken = opcode, size, 0
        self.mask = buffer[2 + more : 6 + more]
        self.at += 6 + more
        return True
