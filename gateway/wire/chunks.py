"""The chunked transfer coding, decoded strictly: what is not RFC 9112 section 7.1 to the letter is an error.

Owns where chunks and the whole body end. Chunk extensions and trailers are dropped. Does not know about connections.
This is our own code rather than llhttp's because it must tell what follows the body (httptools does not), and so that
there is one lenient reading of a chunk's size less to smuggle a request through.
"""

import re
from enum import Enum
from typing import Final

_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_TRAILER: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n")
_LINE_MAX: Final = 4096
_DATA_END_MAX: Final = 1  # a lone CR may wait for its LF
_TRAILERS_MAX: Final = 16 * 1024


class _Stage(Enum):
    SIZE = "size"
    DATA = "data"
    DATA_END = "data end"  # the line break behind a chunk's data
    TRAILERS = "trailers"
    DONE = "done"


class Chunks:
    """Decodes one body: `feed` it what arrives and take what it returns; once `done`, see `rest`."""

    __slots__ = ("_line", "_remaining", "_stage", "_trailers", "rest")

    def __init__(self) -> None:
        self._stage = _Stage.SIZE
        self._line = bytearray()  # the beginning of a line that is not complete
        self._remaining = 0
        self._trailers = 0
        self.rest = b""  # what arrived behind the body

    @property
    def done(self) -> bool:
        """Return whether the body is complete."""
        return self._stage is _Stage.DONE

    def feed(self, data: bytes) -> bytes:
        """Return the content in `data`. Raises ValueError for what is not valid."""
        out: list[bytes] = []
        at, size = 0, len(data)
        while at < size and self._stage is not _Stage.DONE:
            if self._stage is _Stage.DATA:
                step = min(self._remaining, size - at)
                out.append(data[at : at + step])
                at += step
                self._remaining -= step
                if not self._remaining:
                    self._stage = _Stage.DATA_END
                continue
            end = data.find(b"\n", at) + 1
            if not end:
                self._keep_line(data[at:])
                at = size
            elif self._line:
                self._line += data[at:end]
                line = bytes(self._line)
                self._line.clear()
                self._read_line(line, 0, len(line))
                at = end
            else:
                self._read_line(data, at, end)
                at = end
        if self._stage is _Stage.DONE:
            self.rest = data[at:]
        return out[0] if len(out) == 1 else b"".join(out)

    def _keep_line(self, part: bytes) -> None:
        """Keep the beginning of a line. Raises ValueError if it is too long already."""
        if len(self._line) + len(part) > (_DATA_END_MAX if self._stage is _Stage.DATA_END else _LINE_MAX):
            raise ValueError("a chunk's line does not end")
        self._line += part

    def _read_line(self, data: bytes, at: int, end: int) -> None:
        """Read the line that is data[at:end], its line break included."""
        if self._stage is _Stage.SIZE:
            found = _SIZE.fullmatch(data, at, end) if end - at <= _LINE_MAX else None
            if found is None:
                raise ValueError("a chunk's size is not valid")
            self._remaining = int(found[1], 16)
            self._stage = _Stage.DATA if self._remaining else _Stage.TRAILERS
        elif self._stage is _Stage.DATA_END:
            if data[at:end] != b"\r\n":
                raise ValueError("a chunk is longer than its size says")
            self._stage = _Stage.SIZE
        else:
            self._trailers += end - at
            if data[at:end] == b"\r\n":
                self._stage = _Stage.DONE
            elif self._trailers > _TRAILERS_MAX or not _TRAILER.fullmatch(data, at, end):
                raise ValueError("the trailers are not valid")


def chunk(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Return `data` (not empty) as one chunk, in parts to be written one after another."""
    return b"%x\r\n" % len(data), data, b"\r\n"


LAST: Final = b"0\r\n\r\n"
"""Return the end of a body in chunks."""
