"""Catalogs: what each cluster has, and what each user may use of it, as last gathered by the leading controller.

Key layout: docs/state.md, tag `{catalog:CLUSTER}`. A catalog and all its grants change together; writes of a former
leader are rejected. Does not know how they are gathered.
"""

from collections.abc import Mapping
from typing import Final

from state.offer.catalog import Catalog, Grants
from state.redis.client import Redis, Script
from state.store import codecs, keys
from state.store.table import Table

# KEYS: catalog, grants, fence. ARGV: fencing token, JSON, then pairs of user and JSON of their grants.
_PUT: Final = Script("""
local fence = tonumber(redis.call('GET', KEYS[3]) or '0')
if tonumber(ARGV[1]) < fence then return redis.error_reply('FENCED token') end
redis.call('SET', KEYS[3], ARGV[1])
redis.call('SET', KEYS[1], ARGV[2])
redis.call('DEL', KEYS[2])
for at = 3, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1]) end
return 1
""")

ASKED_SECONDS: Final = 60
"""Lifetime of a request for a newer catalog, if there is no leader."""


class Catalogs:
    """The catalogs. All methods raise StateUnavailableError if Redis cannot serve requests."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._catalogs = Table(redis, codecs.CATALOG)
        self._grants = Table(redis, codecs.GRANTS)

    async def put(self, catalog: Catalog, grants: Mapping[str, Grants], *, fence: int) -> None:
        """Replace a cluster's catalog and all grants atomically. `fence`: the leader's fencing token.

        Users who are not in `grants` have none afterwards. Raises FencedError if a later leader has written here.
        """
        rest = [part for user, grant in grants.items() for part in (user, self._grants.encode(grant))]
        await self._redis.run(
            _PUT,
            (keys.catalog(catalog.cluster), keys.grants(catalog.cluster), keys.catalog_fence(catalog.cluster)),
            (fence, self._catalogs.encode(catalog), *rest),
        )

    async def catalog(self, cluster: str) -> Catalog | None:
        """Return what the cluster has, as of its `time`; None if nobody has gathered it yet."""
        found = await self._redis.call("GET", keys.catalog(cluster))
        return self._catalogs.one(found, keys.catalog(cluster))

    async def grants(self, cluster: str, user: str) -> Grants | None:
        """Return what a user may use; None: unknown to the accounting, or not gathered yet."""
        found = await self._redis.call("HGET", keys.grants(cluster), user)
        return self._grants.one(found, keys.grants(cluster), user)

    async def ask(self, cluster: str) -> None:
        """Request a newer catalog: the leader gathers one soon, once for all requests until then."""
        await self._redis.call("SET", keys.catalog_request(cluster), "1", "EX", ASKED_SECONDS)

    async def take_request(self, cluster: str) -> bool:
        """For the leader: return whether there was a request since the last call."""
        return await self._redis.call("GETDEL", keys.catalog_request(cluster)) is not None
