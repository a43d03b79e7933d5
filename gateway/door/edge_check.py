"""The gateway's part of the check of the edge: it reports how the check's requests arrive.

Only requests with the secret of a running check are answered; others get 404. Does not know what
the hub needs of an edge: `gateway.edge.diagnosis` does.
"""

import asyncio
import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from gateway.auth.credentials import Brought
from gateway.door.origin import from_ourselves, own_origin
from gateway.edge.contract import EVENT_PAUSE, HEADER, SILENCE_MAX, Seen
from gateway.tunnel.public_address import PublicAddress
from gateway.wire import Request
from gateway.wire.framing import date_line, status_line
from state.errors import StateUnavailableError

_SECRET: Final = re.compile(rb"[A-Za-z0-9_-]{43}")
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_ECHO_MAX: Final = 125
_JSON: Final = (b"content-type", b"application/json")
_FRESH: Final = (b"cache-control", b"no-store")


class EdgeCheck:
    """Handles all requests under the check's path."""

    def __init__(
        self,
        *,
        prefix: str,
        scheme: str,
        public: PublicAddress,
        knows: Callable[[str], Awaitable[bool]],
        address: Callable[[Request], str],
        trusted: Callable[[str], bool],
        nothing_here: Callable[[Request], None],
    ) -> None:
        """`address`: returns a request's client address. `trusted`: returns whether a peer is a trusted proxy."""
        self.prefix = prefix.encode()
        self._scheme = scheme
        self._public = public
        self._knows = knows
        self._address = address
        self._trusted = trusted
        self._nothing_here = nothing_here
        self._tasks: set[asyncio.Task[None]] = set()

    def handle(self, request: Request) -> None:
        """Answer a request of a running check."""
        secrets = [value for name, value in request.head.fields if name == HEADER]
        if len(secrets) != 1 or not _SECRET.fullmatch(secrets[0]):
            self._nothing_here(request)
            return
        task = asyncio.get_running_loop().create_task(self._answer(request, secrets[0].decode()))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, request: Request, secret: str) -> None:
        try:
            known = await self._knows(secret)
        except StateUnavailableError:
            known = False
        if not request.open:
            return
        if not known:
            self._nothing_here(request)
            return
        what, _, rest = request.path[len(self.prefix) :].decode("latin-1").partition("/")
        match what:
            case "websocket" if request.head.websocket:
                _WebSocket(request).open()
            case "events":
                await _events(request)
            case "body":
                _Body(request).read()
            case "silence" if rest.isdecimal():
                await asyncio.sleep(min(float(rest), SILENCE_MAX))
                request.respond(200, [_JSON, _FRESH], b"{}")
            case _:
                request.respond(200, [_JSON, _FRESH], msgspec.json.encode(self._seen(request)))

    def _seen(self, request: Request) -> Seen:
        brought = Brought(request.head.fields)
        peer = request.client.peer

        def joined(name: bytes) -> str:
            return ", ".join(value.decode("latin-1") for key, value in request.head.fields if key == name)

        return Seen(
            target=request.target.decode("latin-1"),
            host=brought.host.decode("latin-1"),
            peer=peer,
            client=self._address(request),
            trusted=self._trusted(peer),
            own_page=from_ourselves(
                origin=brought.origin,
                fetch_site=brought.fetch_site,
                own=own_origin(self._scheme, self._public.host(brought.host.decode("latin-1")).encode("latin-1")),
            ),
            forwarded_for=joined(b"x-forwarded-for"),
            forwarded_proto=joined(b"x-forwarded-proto"),
            forwarded_host=joined(b"x-forwarded-host"),
        )


class _Body:
    """Reads a request's body and returns its length."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._length = 0

    def read(self) -> None:
        self._request.client.attach(self)
        if self._request.head.length:
            self._request.client.read_body()
        else:
            self.body_complete()

    def body_received(self, data: bytes) -> None:
        self._length += len(data)

    def body_complete(self) -> None:
        self._request.respond(200, [_JSON, _FRESH], b'{"length": %d}' % self._length)

    def client_paused(self) -> None:
        """Do nothing: nothing is sent yet."""

    def client_resumed(self) -> None:
        """Do nothing: nothing is sent yet."""

    def client_gone(self) -> None:
        """Stop: the client has left."""


async def _events(request: Request) -> None:
    """Send two events with a pause. If a proxy buffers responses, they arrive together."""
    client = request.client
    fields = b"content-type: text/event-stream\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
    head = status_line(200) + date_line() + fields + client.response_fields + b"connection: close\r\n\r\n"
    client.transport.write(head + b"data: 1\n\n")
    await asyncio.sleep(EVENT_PAUSE)
    if request.open:
        client.transport.write(b"data: 2\n\n")
        client.close_truncated()


class _WebSocket(asyncio.Protocol):
    """Sends one short message back, and closes (RFC 6455 sections 4.2.2, 5.2, 5.5.1)."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._data = b""
        self._transport: asyncio.Transport | None = None

    def open(self) -> None:
        keys = [value for name, value in self._request.head.fields if name == b"sec-websocket-key"]
        if len(keys) != 1:
            self._request.respond(400, (), b"")
            return
        accept = base64.b64encode(hashlib.sha1(keys[0] + _GUID, usedforsecurity=False).digest())
        client = self._request.client
        self._transport = client.transport
        early = client.detach()
        self._transport.set_protocol(self)
        head = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        self._transport.write(head + b"sec-websocket-accept: " + accept + b"\r\n\r\n")
        self.data_received(early)

    def data_received(self, data: bytes) -> None:
        self._data += data
        size = self._data[1] & 0x7F if len(self._data) > 1 else 0
        if len(self._data) < 2 or len(self._data) < 6 + size:  # noqa: PLR2004 - a header, and a mask behind it
            return
        assert self._transport is not None
        if size <= _ECHO_MAX:
            mask, payload = self._data[2:6], self._data[6 : 6 + size]
            plain = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
            self._transport.write(b"\x81" + bytes([size]) + plain + b"\x88\x00")
        self._transport.close()
