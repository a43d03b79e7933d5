"""One WebSocket of a client, from its request to its end.

Owns: the order: the app's handshake, the client's socket, the 101 through Granian, the splice; and the refusals before
it. Refuses to know frames. Why the socket is taken from Granian: decision 0002.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.tunnel import handshake, takeover
from gateway.tunnel.errors import UpstreamError
from gateway.tunnel.headers import RequestHead, response_head
from gateway.tunnel.opening import open_stream
from gateway.tunnel.options import Scope
from gateway.tunnel.splice import Splice

if TYPE_CHECKING:
    from gateway.tunnel.exchange import Send
    from gateway.tunnel.tunnel import Way

log = logging.getLogger("towpath.tunnel")

_SWITCHING = 101
_NOT_PASSED = frozenset({b"content-length"})


async def carry(scope: Scope, send: "Send", *, way: "Way", build: Callable[[], RequestHead], splice: Splice) -> None:
    """Carry it to its end. Whatever goes wrong before is answered here."""
    try:
        head = build()
        if head.length:
            raise UpstreamError("bad-request", "a WebSocket's request has a body")
        app, answer = await _ask(scope, way, head)
    except UpstreamError as error:
        way.stats.upstream_errors += 1
        log.info("%s: WebSocket: %s (%s)", way.route.prefix, error, error.detail)
        await _refuse(send, error.status, str(error))
        return
    try:
        if answer.status != _SWITCHING:
            await _pass_refusal(send, way, answer)
            return
        try:
            sock = takeover.take(scope)
        except (takeover.TakeoverError, OSError) as error:
            way.stats.takeover_failures += 1
            log.warning("%s: a WebSocket was refused: %s", way.route.prefix, error)
            await _refuse(send, 500, "The hub could not take this WebSocket over. Its log says why.")
            return
        try:
            await send({"type": "websocket.accept", "subprotocol": answer.subprotocol})
        except BaseException:
            sock.close()
            raise
        await splice.run(sock, app.transport, app.rest)
    finally:
        app.transport.abort()


async def _ask(scope: Scope, way: "Way", head: RequestHead) -> tuple[handshake.Handshake, handshake.Answer]:
    options = way.options
    app = await open_stream(
        way.route.endpoint,
        lambda: handshake.Handshake(head_limit=options.head_limit, body_limit=options.refusal_limit),
        timeout=options.connect_timeout,
        identity=options.identity,
    )
    key = handshake.new_key()
    try:
        async with asyncio.timeout(options.handshake_timeout):
            answer = await app.ask(head.block + handshake.upgrade_block(key), key, scope["subprotocols"])
    except TimeoutError:
        app.transport.abort()
        raise UpstreamError("timeout") from None
    except BaseException:
        app.transport.abort()
        raise
    return app, answer


async def _pass_refusal(send: "Send", way: "Way", answer: handshake.Answer) -> None:
    try:
        fields = response_head(answer.fields, way.prefix, way.pool.hidden).fields
    except UpstreamError as error:
        await _refuse(send, error.status, str(error))
        return
    fields = [pair for pair in fields if pair[0] not in _NOT_PASSED]
    await _deny(send, answer.status, fields, answer.body)


async def _refuse(send: "Send", status: int, message: str) -> None:
    body = json.dumps({"status": status, "message": message}).encode()
    await _deny(send, status, [(b"content-type", b"application/json")], body)


async def _deny(send: "Send", status: int, fields: list[tuple[bytes, bytes]], body: bytes) -> None:
    # A client that left before is quiet: Granian raises for it.
    with contextlib.suppress(RuntimeError):
        await send({"type": "websocket.http.response.start", "status": status, "headers": fields})
        await send({"type": "websocket.http.response.body", "body": body})
