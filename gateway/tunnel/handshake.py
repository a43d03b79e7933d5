"""The opening handshake with an app, as its WebSocket client.

Owns: our key and its check, the app's refusal with a bounded body, the bytes that come behind the 101. Refuses to
know the browser's side.

Source: RFC 6455 section 4.1. No extension is ever offered: Granian's 101 could not tell the client which one was
taken.
"""

import asyncio
import base64
import hashlib
import os
from typing import NamedTuple, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from gateway.tunnel.errors import UpstreamError
from gateway.tunnel.headers import Fields

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SWITCHING = 101
_FIRST_FINAL = 200


class Answer(NamedTuple):
    """The app's: `status` 101 (with `subprotocol`) or a refusal (with `body`)."""

    status: int
    fields: Fields
    subprotocol: str | None
    body: bytes


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
    # SHA-1 is what the protocol says; nothing is kept secret by it.
    expected = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    if values.get(b"sec-websocket-accept") != [expected]:
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
        self._buffer = b""
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
            self.rest += data
            return
        self._buffer += data
        while not self._in_body:
            head, blank, rest = self._buffer.partition(b"\r\n\r\n")
            if not blank:
                if len(head) > self._head_limit:
                    self._finish(UpstreamError("bad-response", "the head is too large"))
                return
            if not self._parse(head + blank):
                return
            self._buffer = rest
            if self._status == _SWITCHING:
                self.transport.pause_reading()
                self.rest = rest
                self._finish()
                return
            if self._status >= _FIRST_FINAL:
                self._in_body = True
            else:
                self._fields = []
        body, self._buffer = self._buffer, b""
        if (body and not self._parse(body)) or self._complete or len(self._body) > self._body_limit:
            self._finish()

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
