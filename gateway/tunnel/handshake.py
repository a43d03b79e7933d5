"""A WebSocket's opening handshakes: the client's with us, and ours with the app.

Owns: what a client's request must have and what it is answered; our key and its check, the app's refusal with a bounded
body, the bytes that come behind its 101. Refuses to know the client's connection.

Source: RFC 6455 section 4. No extension is ever offered to the app: with one in use, frames could not be told apart
by their headers alone (`gateway.tunnel.frames`).
"""

import asyncio
import base64
import binascii
import hashlib
import os
from typing import NamedTuple, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from gateway.tunnel.errors import UpstreamError
from gateway.tunnel.headers import Fields
from gateway.wire.receive_buffer import ReceiveBuffer

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES = 16
_OURS = frozenset({b"content-length", b"sec-websocket-accept", b"sec-websocket-protocol", b"sec-websocket-extensions"})
_SWITCHING = 101
_FIRST_FINAL = 200


class Answer(NamedTuple):
    """The app's: `status` 101 (with `subprotocol`) or a refusal (with `body`)."""

    status: int
    fields: Fields
    subprotocol: str | None
    body: bytes


class VersionError(Exception):
    """The client speaks another version of the protocol: answer 426 with ours."""


def asked(fields: Fields, method: bytes, length: int) -> tuple[bytes, list[str]]:
    """The key of a client's request and the subprotocols that it offers. Raises VersionError and UpstreamError."""
    versions = [value for name, value in fields if name == b"sec-websocket-version"]
    keys = [value for name, value in fields if name == b"sec-websocket-key"]
    if versions != [b"13"]:
        raise VersionError
    if method != b"GET" or length or len(keys) != 1 or not _is_key(keys[0]):
        raise UpstreamError("bad-request", "a WebSocket's request is not as RFC 6455 wants it")
    offers = [value for name, value in fields if name == b"sec-websocket-protocol"]
    names = [part.strip().decode("latin-1") for value in offers for part in value.split(b",")]
    return keys[0], [name for name in names if name]


def _is_key(value: bytes) -> bool:
    """Whether this is a Sec-WebSocket-Key: 16 bytes in base64."""
    try:
        return len(base64.b64decode(value, validate=True)) == _KEY_BYTES
    except binascii.Error:
        return False


def accept_block(key: bytes, subprotocol: str | None, fields: Fields) -> bytes:
    """The 101 for the client, whole. `fields`: those of the app's 101 that may cross."""
    lines = [
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n",
        b"sec-websocket-accept: %b\r\n" % _accept(key),
    ]
    if subprotocol is not None:
        lines.append(b"sec-websocket-protocol: %b\r\n" % subprotocol.encode("latin-1"))
    lines += [b"%b: %b\r\n" % pair for pair in fields if pair[0] not in _OURS]
    return b"".join(lines) + b"\r\n"


def _accept(key: bytes) -> bytes:
    # SHA-1 is what the protocol says; nothing is kept secret by it.
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def upgrade_block(key: bytes) -> bytes:
    """The end of the request's head."""
    return (
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
        + key
        + b"\r\n\r\n"
    )


def new_key() -> bytes:
    """A fresh Sec-WebSocket-Key."""
    return base64.b64encode(os.urandom(16))


def check(fields: Fields, key: bytes, offered: list[str]) -> str | None:
    """Whether a 101 answers our request; the subprotocol that the app chose, if any. Raises UpstreamError."""
    values: dict[bytes, list[bytes]] = {}
    for field, value in fields:
        values.setdefault(field.lower(), []).append(value.strip())
    if values.get(b"sec-websocket-accept") != [_accept(key)]:
        raise UpstreamError("bad-response", "Sec-WebSocket-Accept does not fit the key")
    if [value.lower() for value in values.get(b"upgrade", [])] != [b"websocket"]:
        raise UpstreamError("bad-response", "101 without Upgrade: websocket")
    if any(values.get(b"sec-websocket-extensions", [])):
        raise UpstreamError("bad-response", "the app took an extension that was not offered")
    chosen = values.get(b"sec-websocket-protocol", [])
    if not chosen:
        return None
    name = chosen[0].decode("latin-1")
    if len(chosen) > 1 or name not in offered:
        raise UpstreamError("bad-response", "the app chose a subprotocol that was not offered")
    return name


class Handshake(asyncio.Protocol):
    """`ask`, then hand the transport to another protocol together with `rest`, or close it."""

    def __init__(self, *, head_limit: int, body_limit: int) -> None:
        self._parser = HttpResponseParser(self)
        self._head_limit = head_limit
        self._body_limit = body_limit
        self._buffer = ReceiveBuffer()
        self._head_bytes = 0
        self._fields: list[tuple[bytes, bytes]] = []
        self._status = 0
        self._in_body = False
        self._complete = False
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._error: UpstreamError | None = None
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._body = bytearray()
        self.rest = b""

    async def ask(self, request: bytes, key: bytes, offered: list[str]) -> Answer:
        """Send the request and return the answer. Raises UpstreamError."""
        self.transport.write(request)
        await self._done
        if self._error is not None:
            raise self._error
        fields = self._fields
        chosen = check(fields, key, offered) if self._status == _SWITCHING else None
        return Answer(self._status, fields, chosen, bytes(self._body[: self._body_limit]))

    def _finish(self, error: UpstreamError | None = None) -> None:
        if not self._done.done():
            self._error = error
            self._done.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Collect the head, then either stop (101) or collect a refusal's body."""
        if self._done.done():
            if self._status == _SWITCHING:
                self.rest += data  # no more than one read: reading is paused
            return
        if not self._in_body:
            self._buffer.append(data)
            if not self._read_heads():
                return
            data = self._buffer.take_all()
        if (data and not self._parse(data)) or self._complete or len(self._body) > self._body_limit:
            self._finish()

    def _read_heads(self) -> bool:
        """Read heads up to and including a final one; True once a refusal's body begins.

        All heads of the answer together are bounded: an app may not send 1xx without end.
        """
        while end := self._buffer.find_head_end():
            self._head_bytes += end
            if self._head_bytes > self._head_limit:
                break
            if not self._parse(self._buffer.take(end)):
                return False
            if self._status == _SWITCHING:
                self.transport.pause_reading()
                self.rest = self._buffer.take_all()
                self._finish()
                return False
            if self._status >= _FIRST_FINAL:
                self._in_body = True
                return True
            self._fields = []
        if self._head_bytes + len(self._buffer) > self._head_limit:
            self._finish(UpstreamError("bad-response", "the head is too large"))
        return False

    def _parse(self, data: bytes) -> bool:
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._status = self._parser.get_status_code()
        except HttpParserError as error:
            self._finish(UpstreamError("bad-response", repr(error)))
            return False
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """A refusal may end with its connection."""
        self._finish(None if self._in_body else UpstreamError("before-headers", repr(exc)))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect the head's fields; trailers are dropped."""
        if not self._in_body:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Note the status."""
        self._status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        """Collect a refusal's body."""
        self._body += data

    def on_message_complete(self) -> None:
        """Note the end."""
        self._complete = True
