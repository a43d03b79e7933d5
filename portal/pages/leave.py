"""Leaving a shared server: a page that asks, and a form that does it.

Owns `/hub/leave/...`. Does not know how a share ends (`portal.sharing.share_actions`). A share with a group cannot be
left, because the other members have it too.
"""

from typing import Any

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from portal.rights.access import need_user, signed_in
from portal.sharing import share_actions
from portal.site.site import Site
from portal.web.methods import read
from portal.web.responses import go, page, read_form
from state.records.models import User
from state.store.shares import recipients_of

PATHS = ["/leave/{owner:str}", "/leave/{owner:str}/{server:str}"]


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""

    async def place(request: Request[Any, Any, Any]) -> tuple[User, str, str]:
        """Return the caller, and the owner and name of the server."""
        _, me = await need_user(site, request, "users:shares", signed_in(request).user.name)
        return me, request.path_params["owner"], request.path_params.get("server", "")

    @read(PATHS)
    async def ask(request: Request[Any, Any, Any]) -> Response[bytes]:
        me, owner, server = await place(request)
        await share_actions.held(site, me.name, owner, server)
        shares = await site.store.shares.of(*recipients_of(me))
        groups = [share.group for share in shares if share.group and (share.owner, share.server) == (owner, server)]
        record = await site.store.servers.get(owner, server)
        return page(site, request, "leave.html", user=me, owner=owner, name=server, groups=groups, server=record)

    @post(PATHS)
    async def leave(request: Request[Any, Any, Any]) -> Response[bytes]:
        me, owner, server = await place(request)
        await read_form(request)
        await share_actions.leave(site, request, me.name, owner, server)
        return go(site.at("home", done="left"))

    return [ask, leave]
