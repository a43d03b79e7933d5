"""Sign-ins in progress at a provider. Key layout: docs/state.md, tag `{f:…}`.

Owns the keys that seal them, and their single use. The sign-ins themselves are stored in the browsers, so that starting
one stores nothing here. Does not know what a flow contains.
"""

import secrets

from state.redis.client import Redis
from state.store import keys
from state.store.credentials import digest


class Flows:
    """All methods raise StateUnavailableError if Redis cannot serve requests."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def key(self, name: str, *, lifetime: float) -> bytes:
        """Return the 32-byte key with this name, the same for all callers.

        It is created for `lifetime` seconds if missing.
        """
        key, fresh = keys.flow_key(name), secrets.token_hex(32)
        while True:
            create = ("SET", key, fresh, "NX", "PX", int(lifetime * 1000))
            made, found = await self._redis.in_order((create,), (("GET", key),))
            if made is not None:
                return bytes.fromhex(fresh)
            if found is not None:  # otherwise it has expired between the two commands
                return bytes.fromhex(found.decode())

    async def over(self, state: str) -> bool:
        """Return whether the flow with this `state` has ended."""
        return bool(await self._redis.call("EXISTS", keys.flow(digest(state))))

    async def end(self, state: str, *, lifetime: float) -> bool:
        """End a flow; return False if it had ended before. This is remembered for `lifetime` seconds."""
        milliseconds = max(1, int(lifetime * 1000))
        return await self._redis.call("SET", keys.flow(digest(state)), "1", "NX", "PX", milliseconds) is not None
