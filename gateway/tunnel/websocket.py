"""The opening of one WebSocket: from the client's request to two connections tied together.

Owns: the order: the client's handshake is checked, the app's is made, its 101 passed on with its fields, then the two
protocols are exchanged for those of a splice; and the refusals before it. Refuses to know frames.

Source: RFC 6455 section 4.2.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from gateway.tunnel import handshake
from gateway.tunnel.errors import UpstreamError
from gateway.tunnel.exchange import Refuse
from gateway.tunnel.opening import open_stream
from gateway.tunnel.splice import Splice
from gateway.wire import Request

if TYPE_CHECKING:
    from gateway.tunnel.way import Way

log = logging.getLogger("towpath.tunnel")

_SWITCHING: Final = 101
_NOT_PASSED: Final = frozenset({b"content-length"})


class Opening:
    """`start` once. It is the request's sink until the connections are tied together."""

    __slots__ = ("_block", "_refuse", "_request", "_splice", "_task", "_way")

    def __init__(self, request: Request, block: bytes, *, way: "Way", splice: Splice, refuse: Refuse) -> None:
        """`block`: the head for the app but for the handshake's own fields."""
        self._request = request
        self._block = block
        self._way = way
        self._splice = splice
        self._refuse = refuse
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Carry it. Whatever goes wrong before it is open is answered."""
        self._request.client.attach(self)
        self._task = self._way.loop.create_task(self._run())

    async def _run(self) -> None:
        app: handshake.Handshake | None = None
        tied = False
        try:
            key, offered = handshake.asked(self._request.head.fields, self._request.method, self._request.head.length)
            app, answer = await self._ask(offered)
            if not self._request.open:
                return
            if answer.status == _SWITCHING:
                fields = self._way.rules(answer.fields).fields
                self._tie(app, handshake.accept_block(key, answer.subprotocol, fields))
                tied = True
            else:
                self._pass_refusal(answer)
        except handshake.VersionError:
            fields = [(b"sec-websocket-version", b"13"), (b"content-type", b"text/plain; charset=utf-8")]
            self._request.respond(426, fields, b"WebSocket version 13 is spoken here.\n")
        except UpstreamError as error:
            self._way.stats.upstream_errors += 1
            log.info("%s: WebSocket: %s (%s)", self._way.name, error, error.detail)
            self._refuse(self._request, error)
        finally:
            if not tied:
                if app is not None:
                    app.transport.abort()
                self._splice.never_opened()

    async def _ask(self, offered: list[str]) -> tuple[handshake.Handshake, handshake.Answer]:
        """The app's answer to a handshake of our own. Raises UpstreamError."""
        assert self._way.route is not None
        options = self._way.options
        app = await open_stream(
            self._way.route.endpoint,
            lambda: handshake.Handshake(head_limit=options.head_limit, body_limit=options.refusal_limit),
            timeout=options.connect_timeout,
            identity=options.identity,
        )
        key = handshake.new_key()
        try:
            async with asyncio.timeout(options.handshake_timeout):
                answer = await app.ask(self._block + handshake.upgrade_block(key), key, offered)
        except TimeoutError:
            app.transport.abort()
            raise UpstreamError("timeout") from None
        except BaseException:
            app.transport.abort()
            raise
        return app, answer

    def _tie(self, app: handshake.Handshake, block: bytes) -> None:
        client = self._request.client
        transport = client.transport
        early = client.detach()
        transport.write(block)
        self._splice.open(transport, early, app.transport, app.rest)

    def _pass_refusal(self, answer: handshake.Answer) -> None:
        fields = self._way.rules(answer.fields).fields
        self._request.respond(answer.status, [pair for pair in fields if pair[0] not in _NOT_PASSED], answer.body)

    # --- the client's ways, meanwhile -----------------------------------------------------------------------

    def client_gone(self) -> None:
        """It left: nobody is waiting."""
        if self._task is not None:
            self._task.cancel()

    def client_paused(self) -> None:
        """Nothing is sent yet."""

    def client_resumed(self) -> None:
        """Nothing is sent yet."""

    def body(self, data: bytes) -> None:
        """There is none: a request with a body is refused."""

    def body_end(self) -> None:
        """See `body`."""
