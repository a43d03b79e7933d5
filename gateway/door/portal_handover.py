"""Forwards requests to the portal: Litestar on Granian, in the same process, behind a private unix socket.

Owns the socket's location, and how the portal receives the identity. Does not know about pages and checks.

The door forwards a request with a ticket in a header: a random name, valid for this request, under which this
process keeps the caller's identity and address. The request contains nothing about the caller, so nothing can be
forged: a client of the socket without a ticket (it is 0600 in a 0700 folder, so that would be a process of the same
account) gets 403, and the header is removed from clients' requests.
"""

import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from gateway.auth.cookies import COOKIES, Strays
from gateway.door.services import source_of
from gateway.tunnel import Tunnel, UpstreamError
from gateway.tunnel.headers import HOP_BY_HOP, Fields, ResponseHead, named_in_connection
from gateway.wire import Request
from gateway.wire.framing import UNTIL_CLOSE, declared_length
from state.records.models import Endpoint
from state.rights.identity import Identity

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]
Refuse = Callable[[Request, UpstreamError], None]

TICKET: Final = b"x-towpath-ticket"
_TWIN: Final = TICKET.replace(b"-", b"_")
_OURS: Final = HOP_BY_HOP | {TICKET, b"content-length", b"expect"}


class Origin:
    """The identity of a request, its peer, and the client address behind the trusted proxies."""

    __slots__ = ("address", "identity", "peer")

    def __init__(self, identity: Identity | None, peer: str, address: str) -> None:
        self.identity = identity
        self.peer = peer
        self.address = address


class Handover:
    """The connection to the portal: `handle` is called by the door, `asgi` by Granian."""

    def __init__(
        self,
        portal: Asgi,
        tunnel: Tunnel,
        path: Path,
        refuse: Refuse,
        address: Callable[[Request], str],
        *,
        strays: Strays,
    ) -> None:
        """`path`: the socket.

        `refuse` responds if the portal does not. `address`: returns a request's client address.
        """
        self._address = address
        self._strays = strays
        self._portal = portal
        self._tunnel = tunnel
        self._refuse = refuse
        self._way = tunnel.way_to(Endpoint(kind="unix", path=str(path)), response_fields, name="the portal")
        self._origins: dict[bytes, Origin] = {}

    def handle(self, request: Request, identity: Identity | None) -> None:
        """See `gateway.door.contracts.Portal`."""
        ticket = secrets.token_hex(16).encode()
        block = request.method + b" " + request.target + b" HTTP/1.1\r\n" + request_block(request.head.fields)
        address = self._address(request)
        self._origins[ticket] = Origin(identity, request.client.peer, address)
        self._tunnel.carry(
            request,
            self._way,
            block + TICKET + b": " + ticket + b"\r\n",
            source=source_of(address) if identity is None else identity.key,
            refuse=self._refuse,
            when_over=lambda: self._origins.pop(ticket, None),
        )

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI app for Granian: the portal, for requests with a ticket."""
        if scope["type"] != "http":
            return
        tickets = [value for name, value in scope["headers"] if name == TICKET]
        origin = self._origins.get(tickets[0]) if len(tickets) == 1 else None
        if origin is None:
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"This is not the way in.\n"})
            return
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] != TICKET]
        scope["client"] = (origin.peer, 0)
        state = scope.setdefault("state", {})
        state["identity"], state["address"] = origin.identity, origin.address
        cookies: list[str] = self._strays.found(scope["headers"], scope["path"])
        state[COOKIES] = cookies

        async def with_cookies(message: Any) -> None:
            if cookies and message["type"] == "http.response.start":
                more = ((b"set-cookie", value.encode()) for value in cookies)
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        await self._portal(scope, receive, with_cookies)


def request_block(fields: Fields) -> bytes:
    """Return a client's fields for the portal, without framing, hop-by-hop fields and tickets."""
    named = named_in_connection(value for name, value in fields if name == b"connection")
    return b"".join(
        b"%b: %b\r\n" % (name, value)
        for name, value in fields
        if name not in _OURS and name not in named and name != _TWIN
    )


def response_fields(fields: Fields) -> ResponseHead:
    """Return the portal's fields for the client, without framing and hop-by-hop fields. Raises UpstreamError."""
    try:
        length = declared_length(
            [value for name, value in fields if name == b"content-length"],
            [value for name, value in fields if name == b"transfer-encoding"],
            UNTIL_CLOSE,
        )
    except ValueError as error:
        raise UpstreamError("bad-response", str(error)) from error
    out = [pair for pair in fields if pair[0] not in HOP_BY_HOP and pair[0] != b"content-length"]
    if length >= 0:
        out.append((b"content-length", b"%d" % length))
    return ResponseHead(out, length)
