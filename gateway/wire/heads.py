"""The head of a request: from bytes to a method, a target and checked fields. Pure.

Owns which heads are valid. A head is parsed twice, by a strict grammar of our own and by llhttp (without lenience);
unless both agree, the response is 400. Does not know about connections and the meaning of fields.

Sources: RFC 9112 sections 2.2 (line ends), 3.2 (target forms, Host), 5.2 (no folding), 6.1 (HTTP/1.0).
"""

import re
from typing import Any, Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from gateway.wire.framing import CHUNKED, declared_length, fields_of

_LINE: Final = re.compile(rb"([A-Z-]+) ([!-~]+) HTTP/1\.([01])\r\n")
_HOST: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+=%-]+)(?::[0-9]{1,5})?")
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]*)([/?].*)?", re.IGNORECASE)

REMEMBERED_MAX: Final = 4096
"""Largest block of fields that is worth remembering."""


class BadHeadError(Exception):
    """The head is not valid: respond with `status` and this sentence, and close."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Head:
    """A head without its first line. Several requests may share one, because browsers repeat it exactly.

    `fields` have lower-case names. `length` is of the body, or CHUNKED. `keep`: the connection can be used again.
    `modern`: HTTP/1.1. `memo` belongs to the handler, `carried` to the tunnel: what each has computed from the fields,
    for the next request with the same ones.
    """

    __slots__ = ("carried", "expects", "fields", "host", "keep", "length", "memo", "modern", "websocket")

    def __init__(self, fields: list[tuple[bytes, bytes]], *, host: bytes, modern: bool) -> None:
        """Raise ValueError if the length of the body is ambiguous."""
        self.fields = fields
        self.host = host
        self.modern = modern
        every = Values(fields)
        self.length = declared_length(every(b"content-length"), every(b"transfer-encoding"), 0)
        options = [option.strip().lower() for value in every(b"connection") for option in value.split(b",")]
        self.expects = modern and [value.lower() for value in every(b"expect")] == [b"100-continue"]
        upgrade = [value.lower() for value in every(b"upgrade")]
        self.websocket = modern and upgrade == [b"websocket"] and b"upgrade" in options
        # HTTP/1.0 connections are not kept: their bodies may end with them. Nor is one whose WebSocket was refused:
        # what a client sent behind its handshake must not be read as a request.
        self.keep = modern and b"close" not in options and not self.websocket
        self.memo: Any = None
        self.carried: Any = None

    @property
    def plain(self) -> bool:
        """Return whether only the fields matter: no body, no upgrade, no end. Such a head can be remembered."""
        return not self.length and self.keep and not self.expects


class Values:
    """Return all values of a field, by its name."""

    __slots__ = ("_fields", "_last", "_repeats")

    def __init__(self, fields: list[tuple[bytes, bytes]]) -> None:
        self._fields = fields
        self._last = dict(fields)
        self._repeats = len(self._last) != len(fields)

    def __call__(self, name: bytes) -> list[bytes]:
        """Return the values in order; empty if there are none."""
        value = self._last.get(name)
        if value is None:
            return []
        if not self._repeats:
            return [value]
        return [value for each, value in self._fields if each == name]


class _Watch:
    """The result of llhttp for a head."""

    def __init__(self) -> None:
        self.url = b""
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_headers_complete(self) -> None:
        self.complete = True


def read(raw: bytes, *, most_fields: int) -> tuple[bytes, bytes, Head]:
    """Return method, target in origin form (path and query) and head of `raw`, which ends with its first blank line.

    Raises BadHeadError.
    """
    line = _LINE.match(raw)
    if line is None:
        raise BadHeadError(*_why(raw))
    method, target = line[1], line[2]
    try:
        fields = fields_of(raw, line.end())
    except ValueError as error:
        raise BadHeadError(400, "The request's head is not valid.") from error
    _agree(raw, method, target)
    if len(fields) > most_fields:
        raise BadHeadError(431, "The request has too many header fields.")
    modern = line[3] == b"1"
    hosts = [value for name, value in fields if name == b"host"]
    if len(hosts) > 1 or (modern and not hosts):
        raise BadHeadError(400, "A request needs exactly one Host header.")
    if not target.startswith(b"/"):
        target, hosts = _origin_form(target)
        fields = [(b"host", hosts[0]), *(pair for pair in fields if pair[0] != b"host")]
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise BadHeadError(400, "The Host header is not valid.")
    if b"#" in target:
        raise BadHeadError(400, "A request's target has no fragment.")
    try:
        head = Head(fields, host=hosts[0] if hosts else b"", modern=modern)
    except ValueError as error:
        raise BadHeadError(400, "The length of the request's body is not clear.") from error
    if head.length == CHUNKED and not modern:
        raise BadHeadError(400, "HTTP/1.0 has no chunks.")
    return method, target, head


def _agree(raw: bytes, method: bytes, target: bytes) -> None:
    """Return whether llhttp finds the same head in `raw`, and nothing after it. Raises BadHeadError."""
    watch = _Watch()
    parser = HttpRequestParser(watch)
    try:
        parser.feed_data(raw)
    except HttpParserUpgrade as upgrade:
        if upgrade.args[0] != len(raw):
            raise BadHeadError(400, "The request's head is not valid.") from upgrade
    except HttpParserError as error:
        raise BadHeadError(400, "The request's head is not valid.") from error
    if not watch.complete or watch.url != target or parser.get_method() != method:
        raise BadHeadError(400, "The request's head is not valid.")


def _origin_form(target: bytes) -> tuple[bytes, list[bytes]]:
    """Return path and query, and the host, of an absolute target, whose host counts (RFC 9112 section 3.2.2)."""
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise BadHeadError(400, "The request's target must be a path.")
    rest = absolute[2] or b"/"
    return (rest if rest.startswith(b"/") else b"/" + rest), [absolute[1]]


def _why(raw: bytes) -> tuple[int, str]:
    """Return status and message for an invalid first line."""
    if re.match(rb"[^\r\n]* HTTP/[0-9.]+\r\n", raw) and not re.match(rb"[^\r\n]* HTTP/1\.[01]\r\n", raw):
        return 505, "This server speaks HTTP/1.1."
    return 400, "The request line is not valid."
