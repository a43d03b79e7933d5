"""Filters and rewrites the header fields that pass through the tunnel. Pure functions over bytes.

Owns hop-by-hop rules, the framing that a head declares, the request head that an app gets, the response fields that
a client gets. Message framing is always created again, never copied. Does not know about connections.

Sources: RFC 9110 section 7.6.1 (Connection), RFC 9112 section 6 (framing), RFC 7239.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gateway.tunnel import cookies, forwarded
from gateway.tunnel.errors import UpstreamError
from gateway.tunnel.options import Network
from gateway.tunnel.public_address import PublicAddress
from gateway.wire.framing import CONTROL, UNTIL_CLOSE, declared_length

Fields = Sequence[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)
_REQUEST_SPECIAL = HOP_BY_HOP | forwarded.INBOUND | {b"content-length", b"cookie", b"authorization", b"expect", b"host"}
_FROM_HANDSHAKE = frozenset(
    {b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-extensions", b"sec-websocket-accept"}
)
# An app must not send fields for the whole origin or for the edge proxy.
_RESPONSE_REFUSED = HOP_BY_HOP | {
    b"alt-svc",
    b"clear-site-data",
    b"strict-transport-security",
    b"public-key-pins",
    b"expect-ct",
    b"nel",
    b"report-to",
    b"x-accel-redirect",
    b"x-accel-expires",
    b"x-accel-limit-rate",
    b"x-sendfile",
    b"x-lighttpd-send-file",
    b"x-reproxy-url",
}
_RESPONSE_SPECIAL = _RESPONSE_REFUSED | {b"content-length", b"set-cookie", b"service-worker-allowed"}
_INSIDE = re.compile(rb"/(?!.*(?:\.\.|\\|%2e|%5c))[!-~]*", re.IGNORECASE).fullmatch
"""A path without segments that lead to a parent."""
_PLAIN_CONNECTION = frozenset({b"keep-alive", b"Keep-Alive", b"close", b"Close", b"upgrade", b"Upgrade"})


def named_in_connection(values: Iterable[bytes]) -> frozenset[bytes]:
    """Return the lower-case field names that a Connection header declares hop-by-hop; never Host."""
    names = {name.strip().lower() for value in values for name in value.split(b",")}
    return frozenset(names - {b"host", b""})


class RequestHead(NamedTuple):
    """The bytes for the app (without the blank line and framing), and the body's length as declared."""

    block: bytes
    length: int


class _Sorted(NamedTuple):
    """A client's fields: `lines` are for the app, `inbound` are those in `forwarded.INBOUND`."""

    host: bytes
    lines: list[bytes]
    inbound: list[tuple[bytes, bytes]]
    lengths: list[bytes]
    codings: list[bytes]


class RequestRules:
    """The rules of one worker for requests."""

    __slots__ = ("_hidden", "_networks", "_public", "_special")

    def __init__(
        self,
        hidden: cookies.Hidden,
        networks: tuple[Network, ...],
        public: PublicAddress,
        hidden_headers: frozenset[bytes] = frozenset(),
    ) -> None:
        """`hidden_headers`: dropped, with every spelling that a WSGI or CGI app would read as one of them."""
        self._hidden = hidden
        self._networks = networks
        self._public = public
        self._special = _REQUEST_SPECIAL | {name.replace(b"_", b"-") for name in hidden_headers} | hidden_headers

    def head(
        self,
        line: bytes,
        fields: Fields,
        *,
        peer: str,
        scheme: str,
        credential: bytes,
        cookie: bytes = b"",
        websocket: bool = False,
    ) -> RequestHead:
        """Return the head for the app: request line, the client's fields that pass, and our own.

        `line` is method, target and version without CRLF; `credential` a whole Authorization line with CRLF, or empty;
        `cookie` one more cookie for the app, or empty. `fields` have lower-case names. Raises
        UpstreamError("bad-request").
        """
        host, lines, inbound, lengths, codings = self._sorted(fields, websocket=websocket)
        out = [line, *lines]
        try:
            length = declared_length(lengths, codings, 0)
        except ValueError as error:
            raise UpstreamError("bad-request", str(error)) from error
        if cookie:
            others = [entry[8:] for entry in out if entry.startswith(b"cookie: ")]
            out = [entry for entry in out if not entry.startswith(b"cookie: ")]
            out.append(b"cookie: " + b"; ".join([*others, cookie]))
        host = self._public.host(host.decode("latin-1")).encode("latin-1")
        out.insert(1, b"Host: " + (host or b"localhost"))
        believed = tuple(inbound) if inbound and forwarded.trusted(peer, self._networks) else ()
        forwarded_lines = forwarded.lines(peer, scheme, host.decode("latin-1"), believed, self._public)
        block = b"\r\n".join(out)
        if block.count(b"\n") != len(out) - 1 or block.count(b"\r") != len(out) - 1 or b"\0" in block:
            raise UpstreamError("bad-request", "a line break inside the head")
        return RequestHead(block + b"\r\n" + forwarded_lines + credential, length)

    def _sorted(self, fields: Fields, *, websocket: bool) -> _Sorted:  # noqa: C901, PLR0912 - one pass, its cases side by side
        """Sort a client's fields. Raises UpstreamError("bad-request")."""
        out: list[bytes] = []
        host = b""
        lengths: list[bytes] = []
        codings: list[bytes] = []
        inbound: list[tuple[bytes, bytes]] = []
        named: frozenset[bytes] = frozenset()
        special = self._special
        for name, value in fields:
            if name not in special:
                if websocket and name in _FROM_HANDSHAKE:
                    continue
                # `X_Forwarded_For` reaches a WSGI or CGI app under the same name as `X-Forwarded-For`.
                if b"_" in name and name.replace(b"_", b"-") in special:
                    continue
                out.append(name + b": " + value)
            elif name == b"host":
                if host and host != value:
                    raise UpstreamError("bad-request", "several Host headers")
                host = value
            elif name == b"cookie":
                kept = self._hidden.cut(value)
                if kept:
                    out.append(b"cookie: " + kept)
            elif name == b"content-length":
                lengths.append(value)
            elif name == b"transfer-encoding":
                codings.append(value)
            elif name == b"connection":
                if value not in _PLAIN_CONNECTION:
                    named = named | named_in_connection((value,))
            elif name in forwarded.INBOUND:
                inbound.append((name, value))
        if named:
            out = [entry for entry in out if entry.partition(b":")[0] not in named]
        return _Sorted(host, out, inbound, lengths, codings)


def own_authorization(fields: Fields) -> bytes:
    """Return the client's Authorization as a whole line with CRLF; empty if there is none, or more than one."""
    values = [value for name, value in fields if name == b"authorization"]
    if len(values) != 1 or any(byte in values[0] for byte in (b"\r", b"\n", b"\0")):
        return b""
    return b"Authorization: " + values[0] + b"\r\n"


class ResponseHead(NamedTuple):
    """The fields for the client, and how the body from the app is framed (a length, CHUNKED or UNTIL_CLOSE)."""

    fields: list[tuple[bytes, bytes]]
    length: int


def response_head(  # noqa: C901, PLR0912 - one pass over the fields
    fields: Fields, prefix: bytes, hidden: cookies.Hidden, *, withheld: frozenset[bytes] = frozenset()
) -> ResponseHead:
    """Return the response's fields for the client. `prefix` is the route's path. Names may have any case.

    `withheld`: names, in lowercase, of further fields to drop. Raises UpstreamError("bad-response") for ambiguous
    framing and for anything that could split a response.
    """
    out: list[tuple[bytes, bytes]] = []
    lengths: list[bytes] = []
    codings: list[bytes] = []
    named: frozenset[bytes] = frozenset()
    for raw, value in fields:
        name = raw.lower()
        if name not in _RESPONSE_SPECIAL:
            out.append((name, value))
        elif name == b"content-length":
            lengths.append(value)
        elif name == b"set-cookie":
            confined = cookies.confine(value, prefix, hidden)
            if confined is not None:
                out.append((name, confined))
        elif name == b"transfer-encoding":
            codings.append(value)
        elif name == b"connection":
            if value not in _PLAIN_CONNECTION:
                named = named | named_in_connection((value,))
        elif name == b"service-worker-allowed":
            out.append((name, value if _INSIDE(value) and value.startswith(prefix) else prefix))
    if named or withheld:
        out = [pair for pair in out if pair[0] not in named and pair[0] not in withheld]
    # `answers` checks this too, and field names; a response must not be split if one of them relents.
    if CONTROL.search(b"".join([value for _, value in out])):
        raise UpstreamError("bad-response", "a header field has control characters")
    try:
        length = declared_length(lengths, codings, UNTIL_CLOSE)
    except ValueError as error:
        raise UpstreamError("bad-response", str(error)) from error
    if length >= 0:
        out.append((b"content-length", b"%d" % length))
    return ResponseHead(out, length)
