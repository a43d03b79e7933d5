"""The check of the edge: its latest report, the secrets of its requests, and which process runs it.

Key layout: docs/state.md, tag `{edge}`. Any process may request a turn; the store grants one per interval, so that many
workers together check as often as one. Does not know what is checked.
"""

import secrets
from typing import Final

import msgspec

from state.records.edge import EdgeReport
from state.redis.client import Redis
from state.store import keys
from state.store.credentials import digest

KEPT_SECONDS: Final = 7 * 24 * 3600
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(EdgeReport).decode


class EdgeReports:
    """All methods raise StateUnavailableError if Redis cannot serve requests."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def issue(self, *, lifetime: float) -> str:
        """Return a secret by which gateways recognize the requests of one check, for `lifetime` seconds."""
        secret = secrets.token_urlsafe(32)
        await self._redis.call("SET", keys.edge_secret(digest(secret)), "1", "PX", max(1, int(lifetime * 1000)))
        return secret

    async def knows(self, secret: str) -> bool:
        """Return whether this secret was issued and has not expired."""
        return bool(await self._redis.call("EXISTS", keys.edge_secret(digest(secret))))

    async def take_turn(self, *, seconds: float) -> float:
        """Return 0.0 if the caller should check now, and nobody else for `seconds`; else the seconds left."""
        milliseconds = max(1, int(seconds * 1000))
        if await self._redis.call("SET", keys.EDGE_TURN, "1", "NX", "PX", milliseconds) is not None:
            return 0.0
        left = int(await self._redis.call("PTTL", keys.EDGE_TURN))
        return max(0.05, left / 1000)

    async def extend_turn(self, *, seconds: float) -> None:
        """Keep the turn for `seconds` from now on."""
        await self._redis.call("SET", keys.EDGE_TURN, "1", "PX", max(1, int(seconds * 1000)))

    async def save(self, report: EdgeReport) -> None:
        """Replace the latest report."""
        await self._redis.call("SET", keys.EDGE_REPORT, _encode(report), "PX", KEPT_SECONDS * 1000)

    async def latest(self) -> EdgeReport | None:
        """Return the latest report, or None. A report that another version wrote in another format counts as none."""
        raw = await self._redis.call("GET", keys.EDGE_REPORT)
        if raw is None:
            return None
        try:
            return _decode(raw)
        except msgspec.DecodeError:
            return None
