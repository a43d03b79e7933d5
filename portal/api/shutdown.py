"""Shutting the hub down through the API.

Owns `/shutdown`. `portal.servers.hub_actions` does it.
"""

from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.background_tasks import BackgroundTask
from litestar.handlers import HTTPRouteHandler

from portal.rights.access import need
from portal.servers import hub_actions
from portal.site.site import Site
from portal.web.responses import API_HEADERS, JSON, read_json


class ShutdownRequest(msgspec.Struct):
    """The body of a shutdown. `proxy` is ignored: the gateway is the proxy and always ends."""

    proxy: bool = True
    servers: bool = False


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""

    @post("/shutdown", status_code=202)
    async def shutdown(request: Request[Any, Any, Any]) -> Response[bytes]:
        """202; then the processes on this machine end. Users' servers keep running unless `servers` is true."""
        need(request, "shutdown")
        body = await read_json(request, ShutdownRequest) or ShutdownRequest()
        end = await hub_actions.shut_down(site, request, servers=body.servers)
        return Response(
            b'{"message":"Shutting down Hub"}',
            status_code=202,
            media_type=JSON,
            headers=API_HEADERS,
            background=BackgroundTask(end),
        )

    return [shutdown]
