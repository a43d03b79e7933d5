"""Bytes that a connection has received and not read yet.

Each byte is copied and searched a bounded number of times, however the peer cuts what it sends. Appending to a bytes
object and searching it from its beginning at each arrival would cost the square of what a client sends.
"""

from typing import Final

_HEAD_END: Final = b"\r\n\r\n"
_LINE_END: Final = b"\r\n"


class ReceiveBuffer(bytearray):
    """A first-in, first-out buffer of bytes that knows where the first head in it ends.

    Add to it by `+=`. Remove from it by the methods below alone.
    """

    __slots__ = ("_checked", "_searched")

    def __init__(self) -> None:
        super().__init__()
        self._searched = 0  # no head ends before this offset
        self._checked = 0  # every line feed before this offset follows a carriage return

    def find_head_end(self) -> int:
        """Return the offset just behind the first blank line, or 0 if there is none yet."""
        at = self.find(_HEAD_END, self._searched)
        if at < 0:
            self._searched = max(0, len(self) - len(_HEAD_END) + 1)
            return 0
        return at + len(_HEAD_END)

    def drop_empty_lines(self, limit: int) -> int:
        """Remove up to `limit` empty lines from the beginning, and return how many were removed."""
        count = 0
        while count < limit and self.startswith(_LINE_END, count * len(_LINE_END)):
            count += 1
        if count:
            self.discard(count * len(_LINE_END))
        return count

    def has_bare_line_feed(self) -> bool:
        """Return whether a line feed stands without its carriage return."""
        begin = self._checked
        if self.count(b"\n", begin) != self.count(_LINE_END, max(0, begin - 1)):
            return True
        self._checked = len(self)
        return False

    def take(self, size: int) -> bytes:
        """Remove and return the first `size` bytes, or all if there are fewer."""
        if size >= len(self):
            return self.take_all()
        with memoryview(self) as view:
            content = bytes(view[:size])
        self.discard(size)
        return content

    def take_all(self) -> bytes:
        """Remove and return everything."""
        content = bytes(self)
        self.clear()
        return content

    def discard(self, size: int) -> None:
        """Remove the first `size` bytes."""
        del self[:size]  # moves a pointer; CPython copies only when the buffer has shrunk by half
        self._searched = max(0, self._searched - size)
        self._checked = max(0, self._checked - size)

    def clear(self) -> None:
        """Remove everything."""
        super().clear()
        self._searched = self._checked = 0
