"""The API of `towpath connect`: the client itself, its sign-in (RFC 8628), and which servers it can connect to.

Owns `/towpath/device/…` and `/towpath/connect`. The WebSocket behind `/towpath/connect/` is the gateway's.
"""

from typing import Any, Final

import msgspec
from litestar import Request, Response, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec

from portal.rights.access import need_user, signed_in
from portal.site.site import Site
from portal.users import device_actions
from portal.web.methods import read
from portal.web.responses import arguments, read_json, reply
from portal.web.routing import bound
from state.records.models import Server
from state.records.readiness import is_ready

SMALL: Final = 4096


class DeviceRequest(msgspec.Struct):
    """`client`: the program's name for itself, which the user sees."""

    client: str = ""


class DeviceTokenRequest(msgspec.Struct):
    """`device_code`: the program's own code."""

    device_code: str


class DeviceCodes(msgspec.Struct):
    """What a program gets to begin with. `user_code`: for the user, who types it at `verification_uri`."""

    device_code: str
    user_code: str
    verification_uri: str
    expires_in: int
    interval: int


class DeviceToken(msgspec.Struct):
    """The token of a program, and whose it is."""

    access_token: str
    user: str
    token_type: str = "Bearer"  # noqa: S105 - not a secret


class ConnectableServer(msgspec.Struct):
    """A server. `account`: the Unix account of its job; `""`: unknown. `ready`: whether SSH can be reached now."""

    name: str
    account: str
    ready: bool
    running: bool


class ConnectableServers(msgspec.Struct):
    """A user's servers."""

    user: str
    servers: list[ConnectableServer]


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""
    return [
        bound(
            site,
            post(
                "/towpath/device/code",
                status_code=200,
                summary="Begin the sign-in of a program",
                responses={200: ResponseSpec(DeviceCodes, description="")},
            ),
            begin,
        ),
        bound(
            site,
            post(
                "/towpath/device/token",
                status_code=200,
                summary="The token of a program that a user has approved",
                responses={200: ResponseSpec(DeviceToken, description="")},
            ),
            token,
        ),
        bound(
            site,
            read(
                "/towpath/connect",
                summary="The servers that the caller can connect to by SSH",
                responses={200: ResponseSpec(ConnectableServers, description="")},
            ),
            servers,
        ),
    ]


async def begin(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return codes. The user enters `user_code` at `verification_uri`; `client` is the program's name. Public."""
    body = await read_json(request, DeviceRequest, limit=SMALL) or DeviceRequest()
    try:
        user_code, device_code = await device_actions.begin(site, request, body.client)
    except device_actions.TooManyError as error:
        headers = {"Retry-After": str(int(error.seconds) + 1)}
        raise HTTPException(status_code=429, detail=str(error), headers=headers) from error
    codes = DeviceCodes(
        device_code=device_code,
        user_code=user_code,
        verification_uri=site.origin(request.headers.get("host", "")) + site.at("device"),
        expires_in=int(device_actions.LIFETIME),
        interval=device_actions.INTERVAL,
    )
    return reply(codes)


async def token(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return the token, once. Public: the program proves itself with its `device_code`.

    400 with `error` as in RFC 8628: `authorization_pending` until the user has decided, then `expired_token` or
    `access_denied`.
    """
    body = await read_json(request, DeviceTokenRequest, limit=SMALL)
    try:
        user, secret = await device_actions.token_for(site, request, body.device_code if body is not None else "")
    except device_actions.NotApprovedError as error:
        return reply({"status": 400, "message": error.message, "error": error.code}, 400)
    return reply(DeviceToken(access_token=secret, user=user))


async def servers(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return the servers of the caller, or of `user`. Needs the scope `connect:servers` for the user.

    The WebSocket of a connection is at `/towpath/connect/USER/SERVER`.
    """
    name = arguments(request).get("user") or signed_in(request).user.name
    _, user = await need_user(site, request, "connect:servers", name)
    found = await site.store.servers.of_user(user.name)
    return reply(ConnectableServers(user=user.name, servers=[_shown(server) for server in found]))


def _shown(server: Server) -> ConnectableServer:
    endpoint = server.endpoint
    reachable = is_ready(server) and endpoint is not None and bool(endpoint.ssh_path)
    account = endpoint.account if endpoint is not None else ""
    return ConnectableServer(name=server.name, account=account, ready=reachable, running=is_ready(server))
