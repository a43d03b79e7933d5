"""An app's response head: from its bytes to what the client gets. Pure.

Owns the syntax that a head must have to be passed on. It is parsed twice, by a strict grammar of our own and by llhttp
(strict), and both must agree. Which fields cross is up to the `rules` that are passed in.

Source: RFC 9112 sections 4, 5, 6.
"""

import re
from collections.abc import Callable
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from gateway.tunnel.errors import UpstreamError
from gateway.tunnel.headers import Fields, ResponseHead
from gateway.wire.framing import CHUNKED, UNTIL_CLOSE, date_line, fields_of, status_line

_NO_BODY: Final = (204, 304)
_LEAST, _MOST = 100, 599
_FIRST_FINAL: Final = 200
_NO_CONTENT: Final = 204
_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([0-9]{3})(?: [\t\x20-\x7e\x80-\xff]*)?\r\n")

SWITCHING_PROTOCOLS: Final = 101

Rules = Callable[[Fields], ResponseHead]
"""Returns the fields for the client. Raises UpstreamError."""


class AnswerHead:
    """What the client gets: `block` is the status line and the fields, without framing and blank line.

    `length`: of the body, or CHUNKED or UNTIL_CLOSE, as the app declares it; `bodiless`: none comes, whatever is
    declared. `keep`: the app's connection can be used again. `events`: the body is a stream of events. `received`: of a
    101, the fields as the app has sent them.
    """

    __slots__ = ("_dated", "_usual", "block", "bodiless", "events", "keep", "length", "received", "status")

    def __init__(self, status: int, fields: Fields, length: int, *, keep: bool) -> None:
        block = status_line(status) + b"".join([b"%b: %b\r\n" % pair for pair in fields])
        self.status = status
        self.block = block
        self.length = length
        self.received: Fields = ()
        self.bodiless = status in _NO_BODY
        self.keep = keep and (length != UNTIL_CLOSE or self.bodiless)
        self.events = any(pair[0] == b"content-type" and pair[1].startswith(b"text/event-stream") for pair in fields)
        # A recipient with a clock must add a Date where there is none (RFC 9110 section 6.6.1).
        self._dated = any(pair[0] == b"date" for pair in fields)
        self._usual = self._framed(close=False, bodiless=False, modern=True) + (b"\r\n" if self._dated else b"")

    def usual(self) -> bytes:
        """Return the head for a persistent HTTP/1.1 connection, after a request other than HEAD."""
        return self._usual if self._dated else self._usual + date_line() + b"\r\n"

    def special(self, *, close: bool, bodiless: bool, modern: bool) -> bytes:
        """Return the head for all other cases.

        `bodiless`: the request was a HEAD. `modern`: the client uses HTTP/1.1.
        """
        out = self._framed(close=close, bodiless=bodiless, modern=modern)
        return out + b"\r\n" if self._dated else out + date_line() + b"\r\n"

    def _framed(self, *, close: bool, bodiless: bool, modern: bool) -> bytes:
        chunked = modern and not bodiless and not self.bodiless and self.length in (CHUNKED, UNTIL_CLOSE)
        out = self.block
        if chunked:
            out += b"transfer-encoding: chunked\r\n"
        if close:
            out += b"connection: close\r\n"
        return out


class _Watch:
    """What llhttp reports about a head."""

    def __init__(self) -> None:
        self.complete = False

    def on_headers_complete(self) -> None:
        self.complete = True


def read_head(raw: bytes, rules: Rules, *, switching: bool = False) -> AnswerHead:
    """Parse `raw`, which ends with its first blank line. `switching`: 101 was requested.

    Raises UpstreamError("bad-response").
    """
    line = _LINE.match(raw)
    status = int(line[2]) if line else 0
    if line is None or not _LEAST <= status <= _MOST:
        raise UpstreamError("bad-response", repr(raw[:40]))
    fields = _fields(raw, line.end(), status)
    if status < _FIRST_FINAL:
        head = AnswerHead(status, (), 0, keep=True)
        if status == SWITCHING_PROTOCOLS:
            if not switching:
                raise UpstreamError("bad-response", "101 without a requested upgrade")
            head.received = fields
        return head
    crossing = rules(fields)
    passed = crossing.fields
    if status == _NO_CONTENT:
        passed = [pair for pair in passed if pair[0] != b"content-length"]
    # A connection to an HTTP/1.0 app is not reused.
    keep = line[1] == b"1" and not any(name == b"connection" and b"close" in value.lower() for name, value in fields)
    return AnswerHead(status, passed, crossing.length, keep=keep)


def _fields(raw: bytes, at: int, status: int) -> list[tuple[bytes, bytes]]:
    """Return the fields if llhttp finds the same head in `raw`. `at`: where the first line ends."""
    try:
        fields = fields_of(raw, at)
    except ValueError as error:
        raise UpstreamError("bad-response", str(error)) from error
    watch = _Watch()
    parser = HttpResponseParser(watch)
    try:
        parser.feed_data(raw)
    except HttpParserUpgrade:
        pass
    except HttpParserError as error:
        raise UpstreamError("bad-response", repr(error)) from error
    if not watch.complete or parser.get_status_code() != status:
        raise UpstreamError("bad-response", "the head is not valid")
    return fields
