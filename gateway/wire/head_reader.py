"""Finds the heads of requests in what a connection receives."""

import re
from typing import Final, NamedTuple

from gateway.wire import heads
from gateway.wire.context import ListenerContext
from gateway.wire.heads import BadHeadError, Head
from gateway.wire.receive_buffer import ReceiveBuffer

LINE: Final = re.compile(rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/[!-\"$-~]*) HTTP/1\.1")
"""A request line before a remembered head, without its line break. Any other is parsed with its head."""


class Read(NamedTuple):
    """Method, target in origin form and head of a request."""

    method: bytes
    target: bytes
    head: Head


class HeadReader:
    """Holds the received bytes that were not read yet. Heads are read from its beginning."""

    __slots__ = ("_context", "_empty_lines", "buffer")

    def __init__(self, context: ListenerContext) -> None:
        self._context = context
        self._empty_lines = 0  # since the last request
        self.buffer = ReceiveBuffer()

    def read(self) -> Read | None:
        """Take a complete head from the buffer; None: wait for more. Raises BadHeadError."""
        limits, buffer = self._context.limits, self.buffer
        self._skip_empty_lines()
        end = buffer.find_head_end()
        if max(end, len(buffer) if not end else 0) > limits.head:
            raise BadHeadError(431, "The request's head is too large.")
        if not end:
            if buffer.has_bare_line_feed():
                raise BadHeadError(400, "The request's head is not valid.")
            return None
        raw = buffer.take(end)
        found = Read(*heads.read(raw, most_fields=limits.fields))
        self._empty_lines = 0
        self._remember(raw, found.head)
        return found

    def _skip_empty_lines(self) -> None:
        """Drop empty lines in front of a request line (RFC 9112 section 2.2). Raises BadHeadError for too many."""
        most = self._context.limits.empty_lines
        self._empty_lines += self.buffer.drop_empty_lines(most + 1 - self._empty_lines)
        if self._empty_lines > most:
            raise BadHeadError(400, "There are too many empty lines in front of the request.")

    def _remember(self, raw: bytes, head: Head) -> None:
        """Keep the head, if the next one may differ from it in its first line only, so that it is not parsed again."""
        at = raw.index(b"\r\n")
        if head.plain and len(raw) - at <= heads.REMEMBERED_MAX and LINE.fullmatch(raw, 0, at):
            self._context.remember(raw[at:], head)
