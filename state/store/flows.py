"""Sign-ins that are under way at a provider. Key layout: docs/state.md, tag `{f:…}`.

Owns: that each is short-lived and taken once. Refuses to know what its fields are checked against.
"""

from typing import Final

import msgspec

from state.records import Flow
from state.redis import Redis
from state.store import keys
from state.store.credentials import digest

_ENCODER: Final = msgspec.json.Encoder()
_FLOW: Final = msgspec.json.Decoder(Flow)


class Flows:
    """All verbs raise StateUnavailableError when Redis cannot serve."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def put(self, state: str, flow: Flow, *, lifetime: float) -> None:
        """Keep it for `lifetime` seconds. `state`: the secret that the provider hands back."""
        milliseconds = max(1, int(lifetime * 1000))
        await self._redis.call("SET", keys.flow(digest(state)), _ENCODER.encode(flow), "PX", milliseconds)

    async def take(self, state: str) -> Flow | None:
        """The flow of this `state`, which is used up by this; None: there is none (any more)."""
        found = await self._redis.call("GETDEL", keys.flow(digest(state)))
        return None if found is None else _FLOW.decode(found)
