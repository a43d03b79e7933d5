"""Connections that starters open to the hub, so that streams to their apps can use them (`gateway.ways_in.reverse`).

Owns who may open one: the job of a server's current attempt, by its report token. A stolen token is of little use: on
the connection, the node must prove itself with the attempt's certificate before it gets a request.
"""

import asyncio
import hmac
import logging
import re
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Final

from gateway.tunnel import handshake
from gateway.tunnel.errors import UpstreamError
from gateway.ways_in.errors import WayInError
from gateway.ways_in.reverse.way_in import ReverseWayIn
from gateway.wire import Request
from state.errors import BadRecordError, StateUnavailableError
from state.names import node_name, server_path
from state.records.models import Server, Target

log = logging.getLogger("towpath.door")

PATH: Final = "hub/api/towpath/reverse"
SERVER: Final = b"towpath-server"
ATTEMPT: Final = b"towpath-attempt"
_SERVER: Final = re.compile(rb"([a-z0-9_.@+-]{1,64})/([a-z0-9-]{0,30})")
_ATTEMPT: Final = re.compile(rb"[0-9a-f]{32}")
_TOKEN: Final = re.compile(rb"token ([!-~]{1,200})")
_TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")


class DialRefusedError(Exception):
    """The connection is refused with this status and sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ReverseDials:
    """Handles all requests to the path."""

    def __init__(
        self,
        *,
        base_path: str,
        find: Callable[[str, str], Awaitable[Server | None]],
        allows: Callable[[Server], bool],
        way_in: ReverseWayIn,
    ) -> None:
        """`find`: the record of a user's server. `allows`: whether servers of its cluster are reached in this way."""
        self.path = f"{base_path}{PATH}".encode()
        self._base_path = base_path
        self._find = find
        self._allows = allows
        self._way_in = way_in
        self._tasks: set[asyncio.Task[None]] = set()

    def handle(self, request: Request) -> None:
        """Answer a request to the path."""
        task = asyncio.get_running_loop().create_task(self._answer(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, request: Request) -> None:
        try:
            await self._open(request)
        except DialRefusedError as refusal:
            _refuse(request, refusal.status, str(refusal))
        except StateUnavailableError:
            _refuse(request, 503, "The hub cannot look that up just now.")
        except WayInError as error:
            log.warning(
                "A job's connection was refused, because this gateway has no certificate. reason=%r", error.detail
            )
            _refuse(request, 503, "This gateway cannot prove itself to jobs.")
        except Exception:
            log.exception("Request handling failed")
            _refuse(request, 500, "The hub made a mistake.")

    async def _open(self, request: Request) -> None:
        """Check the request, and take its connection. Raises DialRefusedError, StateUnavailableError and WayInError."""
        key = _websocket_key(request)
        user, name, attempt, token = _claims(request)
        try:
            server = await self._find(user, name)
        except BadRecordError as error:
            raise DialRefusedError(500, str(error)) from error
        context = await self._way_in.context()
        refusal = refusal_of(server, attempt, token, allows=self._allows)
        if refusal is not None:
            raise refusal
        node = node_name(attempt)
        if not self._way_in.has_room(node):
            raise DialRefusedError(429, "Enough connections of this job wait.")
        if request.open:
            transport = request.client.transport
            early = request.client.detach()
            transport.write(handshake.accept_block(key, None, []))
            prefix = server_path(self._base_path, user, name)
            self._way_in.accept(transport, early, name=node, prefix=prefix, context=context)


def _websocket_key(request: Request) -> bytes:
    """Return the key of the handshake. Raises DialRefusedError."""
    if not request.head.websocket:
        raise DialRefusedError(426, "Jobs open a WebSocket here.")
    try:
        return handshake.read_request(request.head.fields, request.method, request.head.length).key
    except (handshake.VersionError, UpstreamError) as error:
        raise DialRefusedError(400, "The WebSocket handshake does not follow RFC 6455.") from error


def _claims(request: Request) -> tuple[str, str, str, str]:
    """Return user and name of the server, attempt and token, as the request claims them. Raises DialRefusedError."""
    found: dict[bytes, bytes] = {}
    for field, value in request.head.fields:
        if field in (SERVER, ATTEMPT, b"authorization"):
            if field in found:
                raise DialRefusedError(400, "A field is repeated.")
            found[field] = value
    server, attempt = _SERVER.fullmatch(found.get(SERVER, b"")), _ATTEMPT.fullmatch(found.get(ATTEMPT, b""))
    token = _TOKEN.fullmatch(found.get(b"authorization", b""))
    if token is None:
        raise DialRefusedError(401, "Send the report token.")
    if server is None or attempt is None:
        raise DialRefusedError(400, "Say which attempt of which server this is.")
    return server[1].decode(), server[2].decode(), attempt[0].decode(), token[1].decode()


def refusal_of(
    server: Server | None, attempt: str, token: str, *, allows: Callable[[Server], bool]
) -> DialRefusedError | None:
    """Return why a connection of this attempt is refused; None: it is accepted. Pure."""
    if server is None:
        return DialRefusedError(404, "The server does not exist.")
    if server.attempt != attempt or not server.active or server.target is Target.STOPPED:
        return DialRefusedError(409, "This attempt has ended.")
    if not server.report_hash or not hmac.compare_digest(sha256(token.encode()).hexdigest(), server.report_hash):
        return DialRefusedError(403, "This report token is not valid.")
    if not allows(server):
        return DialRefusedError(400, "Servers of this cluster are reached in another way.")
    return None


def _refuse(request: Request, status: int, message: str) -> None:
    request.respond(status, [_TEXT], message.encode() + b"\n")
