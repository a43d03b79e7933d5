"""How to connect to a server by SSH: a page with the steps, and the client that they use.

Owns `/hub/connect/…` and `/hub/towpath-connect.py`. Does not know what flows over a connection.
"""

from functools import cache
from pathlib import Path
from typing import Any, Final

from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler

from portal.rights.access import need_user
from portal.site.site import Site
from portal.web.methods import read
from portal.web.responses import page
from portal.web.routing import bound
from state.errors import NotFoundError
from state.names import server_key
from state.records.models import Server
from state.records.readiness import is_ready

CLIENT: Final = "towpath-connect.py"
FILE: Final = Path(__file__).parents[1] / "client" / "towpath_connect.py"


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""
    return [
        bound(site, read(["/connect/{name:str}", "/connect/{name:str}/{server:str}"]), steps),
        bound(site, read(f"/{CLIENT}"), client),
    ]


async def steps(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Show the steps, where the server's job serves SSH."""
    owner, name = request.path_params["name"], request.path_params.get("server", "")
    identity, user = await need_user(site, request, "connect:servers", owner, name)
    server = await site.store.servers.get(user.name, name)
    if server is None:
        raise NotFoundError(f"There is no server {server_key(user.name, name)!r}.")
    from portal.client import towpath_connect  # noqa: PLC0415 - it loads what only a client needs

    origin = site.origin(request.headers.get("host", ""))
    return page(
        site,
        request,
        "connect.html",
        user=identity.user,
        name=name,
        serves=serves_ssh(server),
        ready=is_ready(server),
        host=towpath_connect.host_of("towpath", name) if towpath_connect.usable(name) else "",
        url=f"{origin}{site.base}",
        client=CLIENT,
    )


async def client(_site: Site, _request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return the client. Public: it contains no secret."""
    headers = {
        "X-Content-Type-Options": "nosniff",
        "Content-Disposition": f"attachment; filename={CLIENT}",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    return Response(_source(), media_type="text/x-python; charset=utf-8", headers=headers)


def serves_ssh(server: Server) -> bool:
    """Return whether the server's job can be reached by SSH now."""
    return is_ready(server) and server.endpoint is not None and bool(server.endpoint.ssh_path)


@cache
def _source() -> bytes:
    return FILE.read_bytes()
