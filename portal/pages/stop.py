"""Stopping and removing a server: a page that asks, and a form that does it.

Owns `/hub/stop/...` and `/hub/remove/...`. Does not know how a stop is carried out.
"""

from typing import Any, Final

from litestar import Request, Response, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from portal.rights.access import need_user, signed_in
from portal.servers import server_actions
from portal.site.site import Site
from portal.web.methods import read
from portal.web.responses import go, page, read_form

STOP_SECONDS: Final = 2.0
"""How long the response to a stop waits for the end, so that most users see `Stopped` immediately."""


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""

    @read(["/stop/{name:str}", "/stop/{name:str}/{server:str}"])
    async def ask_stop(request: Request[Any, Any, Any]) -> Response[bytes]:
        name, server = request.path_params["name"], request.path_params.get("server", "")
        identity, owner = await need_user(site, request, "delete:servers", name, server)
        record = await site.store.servers.get(owner.name, server)
        if record is None or not record.active:
            return go(site.at("home"), status=302)
        return page(
            site, request, "stop.html", user=identity.user, owner=owner.name, name=server, server=record, verb="Stop"
        )

    @post(["/stop/{name:str}", "/stop/{name:str}/{server:str}"])
    async def stop(request: Request[Any, Any, Any]) -> Response[bytes]:
        name, server = request.path_params["name"], request.path_params.get("server", "")
        _, owner = await need_user(site, request, "delete:servers", name, server)
        await read_form(request)
        record = await server_actions.stop(site, request, owner.name, server)
        if record is not None and record.active:
            await server_actions.ended(site, record, seconds=STOP_SECONDS)
        return go(_back(site, request, owner.name))

    @read("/remove/{name:str}/{server:str}")
    async def ask_remove(request: Request[Any, Any, Any]) -> Response[bytes]:
        name, server = request.path_params["name"], request.path_params["server"]
        identity, owner = await need_user(site, request, "delete:servers", name, server)
        record = await site.store.servers.get(owner.name, server)
        if record is None:
            return go(site.at("home"), status=302)
        values = {"owner": owner.name, "name": server, "server": record, "verb": "Remove"}
        return page(site, request, "stop.html", user=identity.user, **values)

    @post("/remove/{name:str}/{server:str}")
    async def remove(request: Request[Any, Any, Any]) -> Response[bytes]:
        name, server = request.path_params["name"], request.path_params["server"]
        _, owner = await need_user(site, request, "delete:servers", name, server)
        await read_form(request)
        record = await site.store.servers.get(owner.name, server)
        if record is not None and record.active:
            raise HTTPException(status_code=409, detail="The server is running. Stop it before you remove it.")
        if record is not None:
            await server_actions.request_removal(site, request, owner.name, server)
        return go(_back(site, request, owner.name))

    return [ask_stop, stop, ask_remove, remove]


def _back(site: Site, request: Request[Any, Any, Any], owner: str) -> str:
    """Return home, or for an admin the page of the server's owner."""
    return site.at("home") if signed_in(request).is_user(owner) else site.at("admin", "users", owner)
