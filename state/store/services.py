"""Services from the API. Those of the configuration are in no store. Key layout: docs/state.md.

Does not know what a service may do, or its tokens (`state.store.tokens`).
"""

from state.records.models import Service
from state.redis.client import Redis
from state.store import codecs, keys
from state.store.table import Table


class Services:
    """The services. All methods raise StateUnavailableError if Redis cannot serve requests."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._services = Table(redis, codecs.SERVICE)

    async def get(self, name: str) -> Service | None:
        """Return the service, or None. Raises BadRecordError."""
        found = await self._redis.call("HGET", keys.SERVICES_ALL, name)
        return self._services.demand(found, keys.SERVICES_ALL, name)

    async def every(self) -> list[Service]:
        """Return all services by name. Unreadable ones are left out."""
        found = await self._services.hash(keys.SERVICES_ALL)
        return [found[name] for name in sorted(found)]

    async def count(self) -> int:
        """Return the number of services."""
        return int(await self._redis.call("HLEN", keys.SERVICES_ALL))

    async def add(self, service: Service) -> bool:
        """Create a service; return False if the name is taken."""
        return bool(await self._redis.call("HSETNX", keys.SERVICES_ALL, service.name, self._services.encode(service)))

    async def remove(self, name: str) -> bool:
        """Delete a service; return False if it did not exist. The caller revokes its tokens."""
        return bool(await self._redis.call("HDEL", keys.SERVICES_ALL, name))
