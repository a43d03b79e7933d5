"""Services that the API has made. Those of the configuration are in no store. Key layout: docs/state.md.

Refuses to know what a service may do, and its tokens (`state.store.credentials`).
"""

from typing import Final

import msgspec

from state.records.models import Service
from state.redis.client import Redis
from state.store import keys

_ENCODER: Final = msgspec.json.Encoder()
_SERVICE: Final = msgspec.json.Decoder(Service)


class Services:
    """The services. All verbs raise StateUnavailableError when Redis cannot serve."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def get(self, name: str) -> Service | None:
        """The service, or None."""
        found = await self._redis.call("HGET", keys.SERVICES_ALL, name)
        return None if found is None else _SERVICE.decode(found)

    async def every(self) -> list[Service]:
        """All of them, by name."""
        found = [_SERVICE.decode(record) for record in await self._redis.call("HVALS", keys.SERVICES_ALL)]
        return sorted(found, key=lambda service: service.name)

    async def add(self, service: Service) -> bool:
        """Create; False when the name is taken."""
        return bool(await self._redis.call("HSETNX", keys.SERVICES_ALL, service.name, _ENCODER.encode(service)))

    async def remove(self, name: str) -> bool:
        """Delete; False when there was none. Its tokens are the caller's to revoke."""
        return bool(await self._redis.call("HDEL", keys.SERVICES_ALL, name))
