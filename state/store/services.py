"""Services that the API has made. Those of the configuration are in no store. Key layout: docs/state.md.

Refuses to know what a service may do, and its tokens (`state.store.credentials`).
"""

from state.records.models import Service
from state.redis.client import Redis
from state.store import codecs, keys
from state.store.table import Table


class Services:
    """The services. All verbs raise StateUnavailableError when Redis cannot serve."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._services = Table(redis, codecs.SERVICE)

    async def get(self, name: str) -> Service | None:
        """The service, or None. Raises BadRecordError."""
        found = await self._redis.call("HGET", keys.SERVICES_ALL, name)
        return self._services.demand(found, keys.SERVICES_ALL, name)

    async def every(self) -> list[Service]:
        """All of them, by name; those that cannot be read are left out."""
        found = await self._services.hash(keys.SERVICES_ALL)
        return [found[name] for name in sorted(found)]

    async def count(self) -> int:
        """How many there are."""
        return int(await self._redis.call("HLEN", keys.SERVICES_ALL))

    async def add(self, service: Service) -> bool:
        """Create; False when the name is taken."""
        return bool(await self._redis.call("HSETNX", keys.SERVICES_ALL, service.name, self._services.encode(service)))

    async def remove(self, name: str) -> bool:
        """Delete; False when there was none. Its tokens are the caller's to revoke."""
        return bool(await self._redis.call("HDEL", keys.SERVICES_ALL, name))
