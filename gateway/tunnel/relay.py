"""The way of a response from an app to a client, in callbacks.

Owns what the client is written, pauses in both directions, and what happens when either side leaves or makes no
progress. What is asked, and on which connection, is up to the two kinds of relay: an HTTP exchange and the opening of a
WebSocket. Header rules and framing on arrival are elsewhere.
"""

from collections.abc import Callable
from typing import Final

from gateway.tunnel.answers import AnswerHead
from gateway.tunnel.errors import UpstreamError
from gateway.tunnel.options import Caller
from gateway.tunnel.upstream import Connection
from gateway.tunnel.way import Way
from gateway.wire.chunks import LAST, chunk
from gateway.wire.framing import CHUNKED, UNTIL_CLOSE
from gateway.wire.request import Request

_READING: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})
_ONE_WRITE: Final = 16 * 1024
_SERVER_ERROR: Final = 500

Refuse = Callable[[Request, UpstreamError], None]
"""Answers a request that could not be carried. Nothing has been sent to the client yet."""


class Relay:
    """Carries one response. It is a `Receiver` for the app's connection."""

    __slots__ = (
        "_chunked",
        "_client",
        "_connection",
        "_extra",
        "_on_end",
        "_refuse",
        "_reported",
        "_request",
        "_since",
        "_started",
        "caller",
        "events",
        "moved",
        "way",
    )

    def __init__(
        self,
        request: Request,
        *,
        way: Way,
        caller: Caller | None,
        refuse: Refuse,
        on_end: "Callable[[Relay], object]",
        extra: bytes = b"",
    ) -> None:
        """`caller` None: no revocation ends this. `extra`: header lines of our own for the client.

        `on_end` is called once, when the relay is over.
        """
        self._request = request
        self._client = request.client
        self._refuse = refuse
        self._on_end = on_end
        self._extra = extra + request.client.response_fields
        self._connection: Connection | None = None
        self._started = False  # something was sent to the client
        self._chunked = False
        self._since = 0.0  # when the wait for the response's head began
        self._reported = 0  # of `moved`, as activity
        self.events = False  # the response is a stream of events, and has begun
        self.moved = 0  # bytes from the app, and of a streamed request body to it
        self.way = way
        self.caller = caller

    @property
    def writing(self) -> bool:
        """Whether the request is of a method that may change something, or a WebSocket's."""
        return self._request.method not in _READING or self._request.head.websocket

    # --- from the app ---------------------------------------------------------------------------------------

    def complete(self, head: AnswerHead, body: bytes) -> None:
        """See `Receiver`."""
        client = self._client
        self.way.stats.bytes_down += len(body)
        self._release()
        first = self._first(head, close=client.will_close)
        if len(body) < _ONE_WRITE:
            client.transport.write(first + body)
        else:
            client.transport.writelines((first, body))
        self._on_end(self)
        client.response_done()

    def _first(self, head: AnswerHead, *, close: bool) -> bytes:
        request = self._request
        if not close and request.method != b"HEAD":
            first = head.usual()
        else:
            first = head.special(close=close, bodiless=request.method == b"HEAD", modern=request.head.modern)
        return first.replace(b"\r\n", b"\r\n" + self._extra, 1) if self._extra else first

    def head(self, head: AnswerHead, body: bytes) -> None:
        """See `Receiver`."""
        self._started = True
        self.events = head.events
        self._chunked = self._request.head.modern and head.length in (CHUNKED, UNTIL_CLOSE)
        first = self._first(head, close=self._client.will_close and not self._body_to_come())
        self.way.stats.bytes_down += len(body)
        if body:
            self._client.transport.writelines((first, body))
        else:
            self._client.transport.write(first)

    def _body_to_come(self) -> bool:
        """Whether the request's body is still sent: it does not end the connection yet, as it may be complete later."""
        return False

    def content(self, data: bytes) -> None:
        """See `Receiver`."""
        self.way.stats.bytes_down += len(data)
        if self._chunked:
            self._client.transport.writelines(chunk(data))
        else:
            self._client.transport.write(data)

    def over(self, data: bytes) -> None:
        """See `Receiver`."""
        if data:
            self.content(data)
        self._release()
        if self._chunked:
            self._client.transport.write(LAST)
        self._on_end(self)
        self._client.response_done()

    def switched(self, head: AnswerHead, rest: bytes) -> None:
        """See `Receiver`. Only the opening of a WebSocket asks for it."""
        raise NotImplementedError

    def failed(self, error: Exception) -> None:
        """See `Receiver`."""
        self._release()
        self.way.stats.upstream_errors += 1
        self._on_end(self)
        client = self._client
        if not self._started and isinstance(error, UpstreamError):
            if error.status >= _SERVER_ERROR:
                self.way.log_refused(error)
            self._refuse(self._request, error)
            return
        self.way.log_truncated(error)
        # HTTP/1.0 ends a body by closing: only a reset tells an end from a break.
        if self._request.head.modern:
            client.close_truncated()
        else:
            client.abort(reset=True)

    def app_paused(self) -> None:
        """See `Receiver`."""

    def app_resumed(self) -> None:
        """See `Receiver`."""

    def _release(self) -> None:
        """Give up the connection to the app, if there is one."""
        raise NotImplementedError

    # --- from the client ------------------------------------------------------------------------------------

    def client_paused(self) -> None:
        """See `Sink`."""
        if self._connection is not None:
            self._connection.pause()

    def client_resumed(self) -> None:
        """See `Sink`."""
        if self._connection is not None:
            self._connection.resume()

    def client_gone(self) -> None:
        """See `Sink`."""
        if self._connection is not None:
            self._connection.leave()
            self._release()
        self._on_end(self)

    # --- from the tunnel ------------------------------------------------------------------------------------

    def end(self, code: int, reason: str) -> None:  # noqa: ARG002 - a WebSocket's opening has a use for them
        """End it now, for the client too: access was taken away, or the worker shuts down."""
        self.abort()

    def abort(self) -> None:
        """End it at once, for the client too."""
        self._client.abort(reset=not self._request.head.modern)

    def tick(self, now: float) -> None:
        """Called about twice a second: end what takes too long, and note activity."""
        connection = self._connection
        if connection is None:
            return
        if connection.head is None:
            if not self._since:
                self._since = now
            if now - self._since > self._head_timeout():
                connection.fail(UpstreamError("timeout"))
                return
        if connection.stalled(now):
            connection.fail(UpstreamError("timeout", "the app does not read the request"))
            return
        if self.moved != self._reported:
            self._reported = self.moved
            self.way.active()

    def _head_timeout(self) -> float:
        return self.way.options.head_timeout
