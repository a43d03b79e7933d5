"""Routes follow from servers that are ready: published with one, mended for all.

Owns: that no route outlives its server's readiness. Refuses to know what a worker does with a route.
"""

from portal.servers.models import is_ready
from portal.site.site import Site
from state.names import server_path
from state.records.models import Route, Server


async def publish(site: Site, server: Server) -> None:
    """Set the route of a ready server; take it back when somebody asked for a stop in the meantime."""
    assert server.endpoint is not None  # ready records have one
    prefix = server_path(site.base, server.user, server.name)
    await site.store.feed.set_route(
        Route(
            prefix=prefix,
            user=server.user,
            name=server.name,
            attempt=server.attempt,
            endpoint=server.endpoint,
            credential=server.credential,
            strip=server.strip_prefix,
            cors_origins=server.cors_origins,
            hub_app=server.hub_app,
        )
    )
    now = await site.store.servers.get(server.user, server.name)
    if now is None or now.attempt != server.attempt or not is_ready(now):
        await site.store.feed.drop_route(prefix, attempt=server.attempt)


async def mend(site: Site) -> None:
    """Publish what is ready, and drop routes without a ready server (the controller does so at each scan, too)."""
    servers = await site.store.servers.many(list(await site.store.servers.active()))
    ready = {server_path(site.base, one.user, one.name): one for one in servers.values() if is_ready(one)}
    published = {route.prefix: route for route in (await site.store.feed.snapshot()).routes}
    for prefix, server in ready.items():
        if prefix not in published or published[prefix].attempt != server.attempt:
            await publish(site, server)
    for prefix, route in published.items():
        if prefix in ready and ready[prefix].attempt == route.attempt:
            continue
        now = await site.store.servers.get(route.user, route.name)
        if now is None or now.attempt != route.attempt or not is_ready(now):
            await site.store.feed.drop_route(prefix, attempt=route.attempt)
