"""The part of WebSocket framing that a relay needs: where frames begin and end, and the size of messages.

Owns `Tracker`, one per direction, and creating control frames. Payloads are skipped by length and never unmasked,
except for pongs that may answer the gateway's own pings. Does not know about sockets.

Source: RFC 6455 section 5. Extensions are never negotiated, so reserved bits are errors.
"""

import os
from typing import Final

TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
PROTOCOL_ERROR: Final = 1002
TOO_BIG: Final = 1009

_WHOLE_TEXT: Final = 0x80 | TEXT
_WHOLE_BINARY: Final = 0x80 | BINARY
_SHORT: Final = 126
_REASON_MAX: Final = 123


class Tracker:
    """Tracks what one side sends. `feed` bytes, forward what it returns; then check `fault`, `closing`, `active`.

    `masked`: this side is the client (RFC 6455 section 5.1). `limit`: largest message, in bytes. `mark`: the payload
    of our own pings to this side; pongs that carry it are swallowed.
    """

    __slots__ = (
        "_base",
        "_incomplete",
        "_limit",
        "_mark",
        "_masked",
        "_open",
        "_size",
        "active",
        "closing",
        "fault",
        "remaining",
    )

    def __init__(self, *, masked: bool, limit: int, mark: bytes) -> None:
        self._masked = masked
        self._base = 0x80 if masked else 0
        self._limit = limit
        self._mark = mark
        self._incomplete = b""  # an incomplete header or control frame
        self._open = False  # between the fragments of a message
        self._size = 0  # of the message so far
        self.remaining = 0  # bytes of the current data frame still to come; 0: what was forwarded ends at a frame's end
        self.active = False  # a data frame arrived; the caller may reset it
        self.closing = False  # a close frame arrived
        self.fault: tuple[int, str] | None = None  # close code and reason; nothing after it is forwarded

    def feed(self, data: bytes) -> bytes:
        """Return the bytes that can be forwarded now: complete headers, complete control frames, any payload."""
        size = len(data)
        left = self.remaining
        if left:
            if size <= left:
                self.remaining = left - size
                return data
        elif size > 8 and not self._incomplete and not self._open and size <= self._limit:  # noqa: PLR2004 - longest short header
            first = data[0]
            if first == _WHOLE_BINARY or first == _WHOLE_TEXT:  # noqa: PLR1714, SIM109 - the hot path
                length = data[1] - self._base
                if length == _SHORT:
                    length = (data[2] << 8 | data[3]) + 2
                elif length > _SHORT:
                    return self._walk(data)
                if size == (length + 6 if self._masked else length + 2):
                    self.active = True
                    return data
        return self._walk(data)

    def _walk(self, data: bytes) -> bytes:  # noqa: C901, PLR0912 - one loop over the bytes, its cases side by side
        """Handle the general case, frame by frame."""
        if self.fault is not None and self.fault[0] == PROTOCOL_ERROR:
            return b""
        if self._incomplete:
            data = self._incomplete + data
            self._incomplete = b""
        kept: list[bytes] = []
        begin = at = 0
        stop: int | None = 0 if self.fault is not None else None
        size = len(data)
        while at < size:
            if self.remaining:
                step = min(self.remaining, size - at)
                self.remaining -= step
                at += step
                continue
            if size - at < 2:  # noqa: PLR2004 - the shortest header
                break
            if data[at] & 0x08:
                total = self._control(data, at)
                if total == 0 or size - at < total:
                    break
                if data[at] & 0x0F == CLOSE:
                    self.closing = True
                elif self._is_ours(data, at, total):
                    kept.append(data[begin:at])
                    begin = at + total
                at += total
            else:
                header = self._data(data, at, size)
                if self.fault is not None and stop is None:
                    stop = at
                if header == 0:
                    break
                at += header
        if self.fault is None or self.fault[0] == TOO_BIG:
            # Frames after one that is too large are still parsed, so that a close frame is recognized.
            self._incomplete = data[at:]
        if stop is not None:
            at = max(begin, stop)
        kept.append(data[begin:at])
        return b"".join(kept) if len(kept) > 1 else kept[0]

    def _wrong(self, reason: str, code: int = PROTOCOL_ERROR) -> int:
        self.fault = (code, reason)
        return 0

    def _control(self, data: bytes, at: int) -> int:
        """Return the size of the complete control frame; 0: fault."""
        first, second = data[at], data[at + 1]
        length = second & 0x7F
        if first & 0xF0 != 0x80 or first & 0x0F > PONG or length >= _SHORT:  # noqa: PLR2004 - FIN, no reserved bits
            return self._wrong("a control frame is not valid")
        if bool(second & 0x80) != self._masked:
            return self._wrong("a frame's mask is not as it must be")
        return 2 + length + (4 if self._masked else 0)

    def _data(self, data: bytes, at: int, size: int) -> int:
        """Return the size of a data frame's header without the mask (it counts as payload); 0: incomplete, or fault."""
        first, second = data[at], data[at + 1]
        if first & 0x70 or first & 0x0F > BINARY:
            return self._wrong("reserved bits or opcode")
        if bool(second & 0x80) != self._masked:
            return self._wrong("a frame's mask is not as it must be")
        if bool(first & 0x0F) == self._open:
            return self._wrong("a fragment without its beginning or its end")
        length = second & 0x7F
        header = 2
        if length >= _SHORT:
            header = 4 if length == _SHORT else 10
            if size - at < header:
                return 0
            length = int.from_bytes(data[at + 2 : at + header])
        self._size += length
        if self._size > self._limit:
            self._wrong("a message is larger than the hub allows", TOO_BIG)
        self.active = True
        self._open = not first & 0x80
        if not self._open:
            self._size = 0
        self.remaining = length + (4 if self._masked else 0)
        return header

    def _is_ours(self, data: bytes, at: int, total: int) -> bool:
        """Return whether a control frame is a pong to one of our own pings."""
        if data[at] & 0x0F != PONG or total != 2 + len(self._mark) + (4 if self._masked else 0):
            return False
        payload = data[at + 2 : at + total]
        if self._masked:
            payload = _mask(payload[4:], payload[:4])
        return payload == self._mark


def _mask(payload: bytes, key: bytes) -> bytes:
    return bytes(byte ^ key[index & 3] for index, byte in enumerate(payload))


def control(opcode: int, payload: bytes, *, masked: bool) -> bytes:
    """Return a control frame; `masked` for the app, as a client's frames are."""
    assert len(payload) < _SHORT
    if not masked:
        return bytes((0x80 | opcode, len(payload))) + payload
    key = os.urandom(4)
    return bytes((0x80 | opcode, 0x80 | len(payload))) + key + _mask(payload, key)


def close(code: int, reason: str, *, masked: bool) -> bytes:
    """Return a close frame; a reason that is too long is cut at a character."""
    text = reason.encode()[:_REASON_MAX].decode(errors="ignore").encode()
    return control(CLOSE, code.to_bytes(2) + text, masked=masked)
