"""The API of shares for owners of servers: list, grant, revoke.

Owns `/shares`. Does not know how shares work (`portal.sharing.share_actions`), codes (`portal.api.share_codes`), and
the view of the users with whom a server is shared (`portal.api.shared`).
"""

from typing import Any

import msgspec
from litestar import Request, Response, delete, patch, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from portal.rights.access import need_anywhere
from portal.sharing import share_actions, share_models
from portal.site.site import Site
from portal.web.methods import read
from portal.web.pagination import Page, listed, page_of
from portal.web.responses import empty, read_json, reply, with_slash
from state.names import server_key
from state.records.models import Share, User

PATHS = ["/shares/{owner:str}", "/shares/{owner:str}/{server:str}"]


class ShareRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The recipient and the scopes. Exactly one of `user` and `group`."""

    user: str | None = None
    group: str | None = None
    scopes: list[str] | None = None


def server_of(request: Request[Any, Any, Any]) -> str | None:
    """Return the server of a path: `/shares/ann/lab`, `/shares/ann/` (the default server); None: `/shares/ann`."""
    name: str | None = request.path_params.get("server")
    return "" if name is None and with_slash(request) else name


def one_server(request: Request[Any, Any, Any]) -> str:
    """Return the server of a path that must name one. Raises 405, or 403 for a caller who may share nothing."""
    need_anywhere(request, "shares")
    server = server_of(request)
    if server is None:
        raise HTTPException(status_code=405, detail="Name a server. Only GET works for all servers.")
    return server


async def answer(site: Site, request: Request[Any, Any, Any], page: Page, shares: list[Share]) -> Response[bytes]:
    """Return a page of shares."""
    shown = shares[page.offset : page.end]
    servers = await site.store.servers.many([server_key(share.owner, share.server) for share in shown])
    return listed(site, request, page, [share_models.share_model(site, share, servers) for share in shown], len(shares))


async def one(site: Site, share: Share | None) -> dict[str, Any]:
    """Return the model of one share; for None an empty object."""
    if share is None:
        return {}
    servers = await site.store.servers.many([server_key(share.owner, share.server)])
    return share_models.share_model(site, share, servers)


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""

    async def mine(request: Request[Any, Any, Any]) -> tuple[User, str]:
        """Return the owner and the server of the path, which the caller may share. Raises 403, 404, 405."""
        server = one_server(request)
        return (await share_actions.need_server(site, request, "shares", request.path_params["owner"], server))[
            1
        ], server

    @read(PATHS)
    async def every(request: Request[Any, Any, Any]) -> Response[bytes]:
        owner, server = request.path_params["owner"], server_of(request)
        await share_actions.need_server(site, request, "read:shares", owner, server)
        shares = await site.store.shares.of_owner(owner, server)
        return await answer(site, request, page_of(request, always=True), shares)

    @post(PATHS, status_code=200)
    async def give(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Adds to an existing share."""
        owner, server = await mine(request)
        body = await _body(request)
        share = await share_actions.give(
            site, request, owner, server, user=body.user or "", group=body.group or "", requested=body.scopes or ()
        )
        return reply(await one(site, share))

    @patch(PATHS)
    async def take(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Returns the remaining share, or an empty object."""
        owner, server = await mine(request)
        body = await _body(request)
        left = await share_actions.take(
            site, request, owner, server, user=body.user or "", group=body.group or "", requested=body.scopes or ()
        )
        return reply(await one(site, left))

    @delete(PATHS, status_code=200)
    async def take_all(request: Request[Any, Any, Any]) -> Response[bytes]:
        await share_actions.take_all(site, request, *await mine(request))
        return empty(204)

    return [every, give, take, take_all]


async def _body(request: Request[Any, Any, Any]) -> ShareRequest:
    """Return the body, or an empty request."""
    return await read_json(request, ShareRequest) or ShareRequest()
