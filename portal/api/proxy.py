"""The routing table, in the format of JupyterHub's proxy.

Owns `/proxy`. Does not know about the tunnel. The gateway is the proxy, so a PATCH (which sets the address of
the proxy) changes nothing and returns 200.
"""

from typing import Any

from litestar import Request, Response, patch, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from portal.rights.access import need
from portal.servers import hub_actions
from portal.site.site import Site
from portal.web.methods import read
from portal.web.pagination import listed, page_of
from portal.web.responses import empty, read_json
from state.records.models import Endpoint, Route


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""

    @read("/proxy")
    async def table(request: Request[Any, Any, Any]) -> Response[bytes]:
        need(request, "proxy")
        page = page_of(request)
        found = {route.prefix: route for route in (await site.store.feed.snapshot()).routes}
        hub = {site.hub: {"routespec": site.hub, "target": site.public_url or "/", "data": {"hub": True}}}
        everything = hub | {prefix: _model(route) for prefix, route in sorted(found.items())}
        names = list(everything)[page.offset : page.end]
        return listed(site, request, page, {name: everything[name] for name in names}, len(everything))

    @post("/proxy", status_code=200)
    async def check(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Compare the routes with the ready servers, and repair them."""
        need(request, "proxy")
        await hub_actions.repair_routes(site, request)
        return empty(200)

    @patch("/proxy")
    async def moved(request: Request[Any, Any, Any]) -> Response[bytes]:
        need(request, "proxy")
        if await read_json(request, dict[str, Any]) is None:
            raise HTTPException(status_code=400, detail="Send a JSON object.")
        await hub_actions.repair_routes(site, request)
        return empty(200)

    return [table, check, moved]


def _model(route: Route) -> dict[str, Any]:
    """Return a route without the app's credential."""
    data = {"user": route.user, "server_name": route.name, "attempt": route.attempt}
    return {"routespec": route.prefix, "target": _target(route.endpoint), "data": data}


def _target(endpoint: Endpoint) -> str:
    if endpoint.kind == "unix":
        return f"unix://{endpoint.path}"
    if endpoint.kind == "ssh-socket":
        return f"ssh://{endpoint.name}{endpoint.path}"
    if endpoint.kind == "reverse":
        return f"reverse://{endpoint.name}"
    scheme = "https" if endpoint.kind == "tls" else "http"
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return f"{scheme}://{host}:{endpoint.port}"
