"""Publish the route of a server that is ready, and repair all routes.

A route must not outlive its server's readiness: `state.records.readiness` defines both.
"""

from portal.site.site import Site
from state.names import server_path
from state.records.models import Server
from state.records.readiness import is_ready, route_changes, route_of


async def publish(site: Site, server: Server) -> None:
    """Set the route of a ready server, and remove it if a stop was requested in the meantime."""
    await site.store.feed.set_route(route_of(server, site.base))
    now = await site.store.servers.get(server.user, server.name)
    if now is None or now.attempt != server.attempt or not is_ready(now):
        await site.store.feed.drop_route(server_path(site.base, server.user, server.name), attempt=server.attempt)


async def repair(site: Site) -> None:
    """Publish missing routes and drop those without a ready server. The controller does so at each scan too."""
    servers = await site.store.servers.many(list(await site.store.servers.active()))
    snapshot = await site.store.feed.snapshot()
    missing, stray = route_changes(servers.values(), snapshot.routes, site.base)
    for server in missing:
        await publish(site, server)
    for route in stray:
        now = await site.store.servers.get(route.user, route.name)
        if now is None or now.attempt != route.attempt or not is_ready(now):
            await site.store.feed.drop_route(route.prefix, attempt=route.attempt)
