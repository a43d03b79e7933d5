"""When a server counts as ready, and the route that a ready server has: one definition for the hub and the controller.

Pure. The gateway, the portal and the controller all publish, check and repair routes with these.
"""

from collections.abc import Iterable
from typing import Final

from state.names import server_path
from state.records.models import Route, Server, Status, Target

END_REPORTED: Final = "told"
"""Code of the reason that is noted when the scheduler told a starter to end its app, and the cause is not known yet."""


def is_ready(server: Server) -> bool:
    """Return whether requests may reach the app: it answered, was not told to end, and nobody asked it to stop."""
    return server.status is Status.READY and server.target is Target.READY and not end_reported(server)


def end_reported(server: Server) -> bool:
    """Return whether the scheduler has told the app to end, while the job is not seen to have ended yet."""
    return server.reason is not None and server.reason.code == END_REPORTED


def route_of(server: Server, base_path: str) -> Route:
    """Return the route of a ready server. It must have an endpoint."""
    assert server.endpoint is not None  # ready records have one
    return Route(
        prefix=server_path(base_path, server.user, server.name),
        user=server.user,
        name=server.name,
        attempt=server.attempt,
        endpoint=server.endpoint,
        job=server.job.native_id if server.job is not None else "",
        credential=server.credential,
        strip=server.strip_prefix,
        cors_origins=server.cors_origins,
        hub_app=server.hub_app,
    )


def route_changes(
    servers: Iterable[Server], routes: Iterable[Route], base_path: str
) -> tuple[list[Server], list[Route]]:
    """Return the ready servers whose route is missing or different, and the routes that no ready server has."""
    ready = {route_of(server, base_path).prefix: server for server in servers if is_ready(server)}
    table = {route.prefix: route for route in routes}
    missing = [server for prefix, server in ready.items() if table.get(prefix) != route_of(server, base_path)]
    return missing, [route for prefix, route in table.items() if prefix not in ready]
