"""One request, as a handler gets it.

Owns: what was asked, and the simple way to answer. Refuses to know how bytes come and go: the connection does.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from gateway.wire.heads import Head

if TYPE_CHECKING:
    from gateway.wire.client import Client


class Sink(Protocol):
    """Who carries a request on: told what the client does meanwhile."""

    def body(self, data: bytes) -> None:
        """A part of the request's body."""

    def body_end(self) -> None:
        """The request's body is whole."""

    def client_paused(self) -> None:
        """The client reads slower than it is sent to."""

    def client_resumed(self) -> None:
        """The client has caught up."""

    def client_gone(self) -> None:
        """There is nobody to answer any more."""


class Request:
    """To be answered once: by `respond`, or through `client` by whoever is its sink.

    `method` and `target` (path and query, in origin form) are bytes as they came.
    """

    __slots__ = ("client", "head", "method", "target")

    def __init__(self, client: "Client", method: bytes, target: bytes, head: Head) -> None:
        self.client = client
        self.method = method
        self.target = target
        self.head = head

    @property
    def path(self) -> bytes:
        """The target's path."""
        return self.target.partition(b"?")[0]

    @property
    def open(self) -> bool:
        """Whether this is still to be answered, and somebody waits for it."""
        return self.client.request is self

    def respond(self, status: int, fields: Sequence[tuple[bytes, bytes]], body: bytes = b"") -> None:
        """Answer with a whole response; nothing happens when the client has left."""
        if self.open:
            self.client.respond(status, fields, body)


class Handler(Protocol):
    """Who is given every request."""

    def handle(self, request: Request) -> None:
        """Answer it, now or later; must not wait."""
