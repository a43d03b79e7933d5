"""Shutting the hub down through the API.

Owns `/shutdown`. Does not know about processes: the gateway supplies `shut_down`.
"""

from typing import Any, Final

import msgspec
from litestar import Request, Response, post
from litestar.background_tasks import BackgroundTask
from litestar.handlers import HTTPRouteHandler

from portal.audit import recorder
from portal.rights.access import need
from portal.servers import server_actions
from portal.site.site import Site
from portal.web.responses import API_HEADERS, JSON, read_json
from state.records.audit import Act

END_SECONDS: Final = 10.0


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
        await recorder.note(site.store, request, Act.HUB, what="shutdown")
        body = await read_json(request, ShutdownRequest) or ShutdownRequest()
        active = await site.store.servers.many(list(await site.store.servers.active())) if body.servers else {}
        stopping = [await server_actions.stop(site, one.user, one.name) for one in active.values() if one.active]

        what = f"shutdown{', with all servers' if body.servers else ''}"
        await recorder.note(site.store, request, Act.HUB, what=what)

        async def end() -> None:
            for server in stopping:
                if server is not None:
                    await server_actions.ended(site, server, seconds=END_SECONDS / len(stopping))
            site.services.shut_down()

        return Response(
            b'{"message":"Shutting down Hub"}',
            status_code=202,
            media_type=JSON,
            headers=API_HEADERS,
            background=BackgroundTask(end),
        )

    return [shutdown]
