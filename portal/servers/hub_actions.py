"""What can be done to the hub itself: each act once, with its audit entry.

Does not know about processes: the gateway supplies `shut_down`.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from litestar import Request

from portal.audit import recorder
from portal.servers import routing, server_actions
from portal.site.site import Site
from state.records.audit import Act

END_SECONDS: Final = 10.0


async def shut_down(site: Site, request: Request[Any, Any, Any], *, servers: bool) -> Callable[[], Awaitable[None]]:
    """Record a shutdown, and stop all servers if `servers`. Returns what ends the hub, to be called after the response.

    Its call waits a moment for the servers to end.
    """
    await recorder.note(site.store, request, Act.HUB, what=f"shutdown{', with all servers' if servers else ''}")
    active = await site.store.servers.many(list(await site.store.servers.active())) if servers else {}
    stopping = [await server_actions.stop(site, request, one.user, one.name) for one in active.values() if one.active]

    async def end() -> None:
        for server in stopping:
            if server is not None:
                await server_actions.ended(site, server, seconds=END_SECONDS / len(stopping))
        site.services.shut_down()

    return end


async def repair_routes(site: Site, request: Request[Any, Any, Any]) -> None:
    """Compare the routes with the ready servers, and repair them."""
    await routing.repair(site)
    await recorder.note(site.store, request, Act.HUB, what="routes checked")
