"""Finds a route that the worker's mirror does not have yet."""

import asyncio
from typing import Final

from state import names
from state.records.models import Route
from state.records.readiness import is_ready
from state.store.all import Store

TRIES: Final = 20
SECONDS: Final = 0.05
"""Between two reads."""


class LateRoutes:
    """Reads a route that the worker's mirror does not have yet from the store. Raises StateUnavailableError."""

    def __init__(self, store: Store, base_path: str) -> None:
        self._store = store
        self._base_path = base_path

    async def __call__(self, user: str, name: str) -> Route | None:
        """Return the route of a user's server."""
        tries = TRIES
        while True:
            route = await self._store.feed.route(names.server_path(self._base_path, user, name))
            tries -= 1
            if route is not None or not tries or not await self._ready(user, name):
                return route
            await asyncio.sleep(SECONDS)

    async def _ready(self, user: str, name: str) -> bool:
        """Return whether the record is ready, which it is shortly before its route exists."""
        server = await self._store.servers.get(user, name)
        return server is not None and is_ready(server)
