"""The opening of one WebSocket: from the client's request to two connections tied together.

Owns the order. The client's handshake is checked, the app's is made, its 101 is passed on with its fields, and then
both connections are given to a splice. An app that answers anything else refuses: its response goes to the client like
any other. Does not know about frames.

Source: RFC 6455 section 4.2.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from gateway.tunnel import handshake
from gateway.tunnel.answers import AnswerHead, read_head
from gateway.tunnel.errors import UpstreamError
from gateway.tunnel.opening import open_stream
from gateway.tunnel.options import Caller
from gateway.tunnel.relay import Refuse, Relay
from gateway.tunnel.upstream import Connection
from gateway.tunnel.way import Way
from gateway.wire import Request

_TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")


class End(NamedTuple):
    """One end of a WebSocket that is open: its transport, and what it has sent behind its handshake."""

    transport: asyncio.Transport
    early: bytes


class Opening(Relay):
    """`start` once. It is the request's sink until the connections are tied together, or the response is over.

    `ending`: the close code and reason with which the WebSocket must end as soon as it is open, if it must. `source`:
    whose it is, where WebSockets are counted.
    """

    __slots__ = ("_block", "_client_handshake", "_key", "_task", "_tie", "ending", "source")

    def __init__(
        self,
        request: Request,
        block: bytes,
        *,
        way: Way,
        source: str,
        caller: Caller,
        refuse: Refuse,
        on_end: Callable[[Relay], object],
        tie: "Callable[[Opening, End, End], None]",
    ) -> None:
        """`block`: the head for the app without the handshake's own fields.

        `tie` takes over the client's end and the app's, and `on_end` is called if it never comes to that.
        """
        super().__init__(request, way=way, caller=caller, refuse=refuse, on_end=on_end)
        self._block = block
        self._tie = tie
        self._client_handshake: handshake.ClientHandshake | None = None
        self._key = handshake.new_key()
        self._task: asyncio.Task[None] | None = None
        self.source = source
        self.ending: tuple[int, str] | None = None

    def start(self) -> None:
        """Carry it. Whatever goes wrong before the WebSocket is open is answered."""
        self._client.attach(self)
        head = self._request.head
        try:
            self._client_handshake = handshake.read_request(head.fields, self._request.method, head.length)
        except handshake.VersionError:
            self._on_end(self)
            fields = [(b"sec-websocket-version", b"13"), _TEXT]
            self._request.respond(426, fields, b"WebSocket version 13 is spoken here.\n")
        except UpstreamError as error:
            self.failed(error)
        else:
            self._task = self.way.loop.create_task(self._open())

    async def _open(self) -> None:
        options = self.way.options
        try:
            connection = await open_stream(
                self.way.endpoint,
                lambda: Connection(options, {}, self._read),
                ways_in=options.ways_in,
                timeout=options.connect_timeout,
            )
        except UpstreamError as error:
            self._task = None
            self.failed(error)
            return
        self._task = None
        self._connection = connection
        connection.begin(self, self._block + handshake.upgrade_block(self._key), bodiless=False)

    def _read(self, raw: bytes) -> AnswerHead:
        return read_head(raw, self.way.rules, switching=True)

    def complete(self, head: AnswerHead, body: bytes) -> None:
        """See `Receiver`."""
        if self.ending is None:
            super().complete(head, body)
        else:
            self._client.abort()

    def head(self, head: AnswerHead, body: bytes) -> None:
        """See `Receiver`."""
        if self.ending is None:
            super().head(head, body)
        else:
            self._client.abort()

    def switched(self, head: AnswerHead, rest: bytes) -> None:
        """See `Receiver`."""
        handshake_request, connection = self._client_handshake, self._connection
        assert handshake_request is not None
        assert connection is not None
        try:
            subprotocol = handshake.check(head.received, self._key, handshake_request.subprotocols)
            block = handshake.accept_block(handshake_request.key, subprotocol, self.way.rules(head.received).fields)
        except UpstreamError as error:
            self.failed(error)
            return
        self._connection = None
        client = self._client.transport
        early = self._client.detach()
        client.write(block)
        self._tie(self, End(client, early), End(connection.transport, rest))

    def _release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and not connection.lost:
            connection.transport.abort()

    def body_received(self, data: bytes) -> None:
        """There is none: a handshake with a body is refused."""

    def body_complete(self) -> None:
        """See `body_received`."""

    def client_gone(self) -> None:
        """See `Sink`."""
        if self._task is not None:
            self._task.cancel()
        super().client_gone()

    def end(self, code: int, reason: str) -> None:
        """End it: with a close frame once it is open, or now if the app has refused already."""
        if self._started:
            super().end(code, reason)
        else:
            self.ending = (code, reason)

    def _head_timeout(self) -> float:
        return self.way.options.handshake_timeout
