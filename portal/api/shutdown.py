"""The end of the hub, by the API.

Owns: `/shutdown`. Refuses to know processes: the gateway supplies `shut_down`.
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


class Wish(msgspec.Struct):
    """What ends with the hub. `proxy`: the gateway is its own proxy, and ends in any case."""

    proxy: bool = True
    servers: bool = False


def routes(site: Site) -> list[HTTPRouteHandler]:
    """The handlers."""

    @post("/shutdown", status_code=202)
    async def shutdown(request: Request[Any, Any, Any]) -> Response[bytes]:
        """202, and then the processes of this machine end. Users' servers go on unless `servers` is true."""
        need(request, "shutdown")
        await recorder.note(site.store, request, Act.HUB, what="shutdown")
        wish = await read_json(request, Wish) or Wish()
        active = await site.store.servers.many(list(await site.store.servers.active())) if wish.servers else {}
        stopping = [await server_actions.stop(site, one.user, one.name) for one in active.values() if one.active]

        what = f"shutdown{', with all servers' if wish.servers else ''}"
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
