"""Sign-ins that are under way at a provider. Key layout: docs/state.md, tag `{f:…}`.

Owns: the keys that seal them (they are with the browsers: whoever begins one leaves nothing here), and that each ends
once. Refuses to know what a flow is.
"""

import secrets

from state.redis.client import Redis
from state.store import keys
from state.store.credentials import digest


class Flows:
    """All verbs raise StateUnavailableError when Redis cannot serve."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def key(self, name: str, *, lifetime: float) -> bytes:
        """The key of this name, 32 bytes: the same for everybody who asks. Made for `lifetime` seconds if need be."""
        fresh = secrets.token_hex(32)
        await self._redis.call("SET", keys.flow_key(name), fresh, "NX", "PX", int(lifetime * 1000))
        found = await self._redis.call("GET", keys.flow_key(name))
        return bytes.fromhex(found.decode())

    async def over(self, state: str) -> bool:
        """Whether the flow of this `state` has come to its end."""
        return bool(await self._redis.call("EXISTS", keys.flow(digest(state))))

    async def end(self, state: str, *, lifetime: float) -> bool:
        """It has come to its end now; False when it had before. Known for `lifetime` seconds."""
        milliseconds = max(1, int(lifetime * 1000))
        return await self._redis.call("SET", keys.flow(digest(state)), "1", "NX", "PX", milliseconds) is not None
