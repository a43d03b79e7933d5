"""The route table of a worker, in memory.

Owns the lookup at every request, and reports changes so that connection pools can be closed. Does not know where routes
come from.
"""

from collections.abc import Iterable

from state.records.models import Route


class RouteTable:
    """Routes by user and server name. A lookup takes two dict accesses."""

    __slots__ = ("_by_prefix", "_by_user")

    def __init__(self) -> None:
        self._by_user: dict[str, dict[str, Route]] = {}
        self._by_prefix: dict[str, Route] = {}

    def __len__(self) -> int:
        return len(self._by_prefix)

    def lookup(self, user: str, segment: str) -> Route | None:
        """Return the route of `user`'s server named `segment`, else of the default server, else None."""
        servers = self._by_user.get(user)
        if servers is None:
            return None
        return servers.get(segment) or servers.get("")

    def put(self, route: Route) -> bool:
        """Add or replace a route. Return False if nothing changed."""
        if self._by_prefix.get(route.prefix) == route:
            return False
        self._by_prefix[route.prefix] = route
        self._by_user.setdefault(route.user, {})[route.name] = route
        return True

    def drop(self, prefix: str) -> bool:
        """Remove a route. Return False if it did not exist."""
        route = self._by_prefix.pop(prefix, None)
        if route is None:
            return False
        servers = self._by_user[route.user]
        del servers[route.name]
        if not servers:
            del self._by_user[route.user]
        return True

    def replace(self, routes: Iterable[Route]) -> list[tuple[str, Route | None]]:
        """Replace the table with these routes. Return the changes as (prefix, new route or None)."""
        new_routes = {route.prefix: route for route in routes}
        changed: list[tuple[str, Route | None]] = [
            (prefix, None) for prefix in self._by_prefix if prefix not in new_routes
        ]
        for prefix, _ in changed:
            self.drop(prefix)
        changed += [(route.prefix, route) for route in new_routes.values() if self.put(route)]
        return changed
