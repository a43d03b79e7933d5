"""A request as a handler receives it, and the interfaces between a connection and what carries its requests.

Does not know about how bytes come and go: `gateway.wire.client` does that.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from gateway.wire.heads import Head


class Sink(Protocol):
    """Carries a request on, and receives the client's events meanwhile."""

    def body_received(self, data: bytes) -> None:
        """Take a part of the request's body."""

    def body_complete(self) -> None:
        """Note that the request's body is complete."""

    def client_paused(self) -> None:
        """Stop sending: the client reads more slowly than it is sent to."""

    def client_resumed(self) -> None:
        """Resume sending."""

    def client_gone(self) -> None:
        """Stop: nobody waits for the response any more."""


class ClientConnection(Protocol):
    """A client's connection, as the sink of its current request uses it.

    Write the response to `transport`, while `write_paused` is False, and call `response_done`. `response_fields` are
    header lines that every response has.
    """

    transport: asyncio.Transport
    peer: str
    request: "Request | None"
    write_paused: bool
    response_fields: bytes

    @property
    def will_close(self) -> bool:
        """Return whether the connection would end if the response were complete now."""

    def attach(self, sink: Sink) -> None:
        """Tell `sink` about the current request from now on."""

    def read_body(self) -> None:
        """Begin to pass the request's body to the sink."""

    def pause_body(self) -> None:
        """Pause passing on the body."""

    def resume_body(self) -> None:
        """Continue to pass on the body."""

    def response_done(self) -> None:
        """Note that the response is written completely."""

    def close_truncated(self) -> None:
        """Close after what has been written: the response cannot be completed."""

    def abort(self, *, reset: bool = False) -> None:
        """Close at once. `reset`: by a TCP reset, where an orderly end would look like the end of the response."""

    def detach(self) -> bytes:
        """Give the transport away, and return what was received behind the request. The sink is told no more."""

    def respond(self, status: int, fields: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        """Answer the current request with a complete response."""


class Request:
    """A request that is answered once: by `respond`, or through `client` by its sink.

    `method` and `target` (path and query, in origin form) are bytes as received.
    """

    __slots__ = ("client", "head", "method", "target")

    def __init__(self, client: ClientConnection, method: bytes, target: bytes, head: Head) -> None:
        self.client = client
        self.method = method
        self.target = target
        self.head = head

    @property
    def path(self) -> bytes:
        """Return the target's path."""
        return self.target.partition(b"?")[0]

    @property
    def open(self) -> bool:
        """Return whether the request still needs an answer, and the client waits for it."""
        return self.client.request is self

    def respond(self, status: int, fields: Sequence[tuple[bytes, bytes]], body: bytes = b"") -> None:
        """Answer with a complete response. Does nothing if the client has left."""
        if self.open:
            self.client.respond(status, fields, body)


class Handler(Protocol):
    """Receives every request."""

    def handle(self, request: Request) -> None:
        """Answer the request, now or later. Must not block."""
