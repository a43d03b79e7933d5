"""Bytes that a connection has received and not read yet.

Each byte is copied and searched a bounded number of times, however the peer cuts what it sends. Appending to a bytes
object and searching it from its beginning at each arrival would cost the square of what a stranger sends.
"""

from typing import Final

_HEAD_END: Final = b"\r\n\r\n"
_LINE_END: Final = b"\r\n"


class ReceiveBuffer:
    """A first-in, first-out buffer of bytes that knows where the first head in it ends."""

    __slots__ = ("_data", "_searched")

    def __init__(self) -> None:
        self._data = bytearray()
        self._searched = 0  # no head ends before this offset

    def __len__(self) -> int:
        return len(self._data)

    def append(self, data: bytes) -> None:
        """Add what has arrived."""
        self._data += data

    def find_head_end(self) -> int:
        """Return the offset just behind the first blank line, or 0 if there is none yet."""
        at = self._data.find(_HEAD_END, self._searched)
        if at < 0:
            self._searched = max(0, len(self._data) - len(_HEAD_END) + 1)
            return 0
        return at + len(_HEAD_END)

    def drop_empty_lines(self, limit: int) -> int:
        """Remove up to `limit` empty lines from the beginning, and return how many were removed."""
        data = self._data
        count = 0
        while count < limit and data.startswith(_LINE_END, count * len(_LINE_END)):
            count += 1
        if count:
            self.discard(count * len(_LINE_END))
        return count

    def has_bare_line_feed(self) -> bool:
        """Return whether a line feed stands without its carriage return."""
        return self._data.count(b"\n") != self._data.count(_LINE_END)

    def take(self, size: int) -> bytes:
        """Remove and return the first `size` bytes, or all if there are fewer."""
        data = self._data
        if size >= len(data):
            return self.take_all()
        with memoryview(data) as view:
            taken = bytes(view[:size])
        self.discard(size)
        return taken

    def take_all(self) -> bytes:
        """Remove and return everything."""
        taken = bytes(self._data)
        self.clear()
        return taken

    def discard(self, size: int) -> None:
        """Remove the first `size` bytes."""
        del self._data[:size]  # moves a pointer; CPython copies only when the buffer has shrunk by half
        self._searched = max(0, self._searched - size)

    def clear(self) -> None:
        """Remove everything."""
        self._data = bytearray()
        self._searched = 0
