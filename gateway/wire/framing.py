"""The framing of a message's body, and the fixed parts of a response's head. Pure.

Owns the one interpretation of Content-Length and Transfer-Encoding, for requests and responses. Does not know about
connections.

Source: RFC 9112 section 6.
"""

import re
import time
from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

CHUNKED: Final = -1
"""The length of a body that marks its own end (chunked)."""
UNTIL_CLOSE: Final = -2
"""The length of a response's body that ends with its connection."""
NO_CONTENT: Final = 204

CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""Characters that no field value may contain (RFC 9110 section 5.5)."""
_TEXT: Final = bytes(byte for byte in range(256) if (byte >= 0x20 and byte != 0x7F) or byte in b"\t\r\n")  # noqa: PLR2004
_TOKEN: Final = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""Characters of a field's name (RFC 9110 section 5.6.2)."""

_DIGITS: Final = re.compile(rb"[0-9]{1,18}")
_PHRASES: Final = {status.value: status.phrase.encode() for status in HTTPStatus}


def fields_of(raw: bytes, at: int) -> list[tuple[bytes, bytes]]:
    """Return the fields of a head, whose first line ends at `at`; names in lower case. Raises ValueError.

    Strict: each line is a name, a colon and a value without control characters, ended by CRLF (RFC 9112 section 5): no
    folding, no bare line end, no space before the colon. A valid head can be interpreted in only one way.
    """
    lines = raw[at:-4].split(b"\r\n") if len(raw) > at + 2 else []
    ends = len(lines) + 2
    if raw.count(b"\r") != ends or raw.count(b"\n") != ends or raw.translate(None, _TEXT):
        raise ValueError("a control character")
    pairs = [line.partition(b":") for line in lines]
    names = [name for name, _, _ in pairs]
    if not all(names) or b"".join(names).translate(None, _TOKEN) or not all(colon for _, colon, _ in pairs):
        raise ValueError("a field's name is not valid")
    return [(name.lower(), value.strip(b" \t")) for name, _, value in pairs]


def declared_length(lengths: Sequence[bytes], codings: Sequence[bytes], otherwise: int) -> int:
    """Return a body's length in bytes, CHUNKED, or `otherwise` if the head declares none.

    Raises ValueError for what two parsers could interpret differently: both kinds, several lengths, a length that is
    not only digits, a coding other than one `chunked`.
    """
    if codings:
        if lengths or len(codings) > 1 or codings[0].strip().lower() != b"chunked":
            raise ValueError("ambiguous framing")
        return CHUNKED
    if not lengths:
        return otherwise
    if len(lengths) > 1 or not _DIGITS.fullmatch(lengths[0]):
        raise ValueError("ambiguous length")
    return int(lengths[0])


def status_line(status: int) -> bytes:
    """Return the status line with CRLF.

    The reason phrase is the standard's, because clients ignore it (RFC 9112 section 4).
    """
    return b"HTTP/1.1 %d %b\r\n" % (status, _PHRASES.get(status, b""))


class _Clock:
    """Format the Date field of this second."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self) -> bytes:
        """Return the line with CRLF (RFC 9110 section 6.6.1)."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._line = b"date: %b\r\n" % formatdate(second, usegmt=True).encode()
        return self._line


date_line: Final = _Clock().line


def response(
    status: int,
    fields: Sequence[tuple[bytes, bytes]],
    body: bytes,
    *,
    close: bool,
    bodiless: bool,
    extra: bytes = b"",
) -> bytes:
    """Return a complete response of the gateway. `bodiless`: to a HEAD request. `extra`: further header lines."""
    lines = [status_line(status), date_line(), extra]
    lines += [b"%b: %b\r\n" % pair for pair in fields if pair[0] != b"content-length"]
    if status != NO_CONTENT:  # it has no Content-Length (RFC 9110 section 8.6)
        lines.append(b"content-length: %d\r\n" % len(body))
    lines.append(b"connection: close\r\n\r\n" if close else b"\r\n")
    if not bodiless:
        lines.append(body)
    return b"".join(lines)
