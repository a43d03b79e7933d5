"""Gateways and controllers that join, and the certificates of those that have joined. Key layout: docs/state.md.

Tags `{join:ID}` (one join: invitation, request, answer) and `{gateways}` (the authority's certificate, what each
gateway has published, what the controller has issued). What the values mean: `state.records.joining`.
"""

from typing import Final

import msgspec

from state.records.joining import ANSWER_SECONDS, REFUSED, GatewayCertificates, RenewedCertificates
from state.redis.client import Redis, Script
from state.store import keys

WORK_KEPT: Final = 1000

# KEYS: invitation, request, answer. ARGV: answer, milliseconds. A token is answered once, also with concurrent callers.
_ANSWER: Final = Script("""
if redis.call('DEL', KEYS[1]) == 0 and ARGV[1] ~= '' then return 0 end
redis.call('DEL', KEYS[2])
redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
return 1
""")

_CERTIFICATES: Final = msgspec.json.Decoder(GatewayCertificates)
_RENEWED: Final = msgspec.json.Decoder(RenewedCertificates)


class Joining:
    """All methods raise StateUnavailableError if Redis cannot serve requests."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def claim_authority(self, certificate: bytes) -> bytes:
        """Register the authority's certificate if the hub has none yet. Returns the one that the hub has."""
        await self._redis.call("SET", keys.GATEWAYS_AUTHORITY, certificate, "NX")
        return bytes(await self._redis.call("GET", keys.GATEWAYS_AUTHORITY))

    async def authority(self) -> bytes | None:
        """Return the certificate of the hub's authority, or None if no controller has registered one."""
        found = await self._redis.call("GET", keys.GATEWAYS_AUTHORITY)
        return None if found is None else bytes(found)

    async def renew_authority(self, certificate: bytes) -> None:
        """Replace the authority's certificate by a newer one for the same key."""
        await self._redis.call("SET", keys.GATEWAYS_AUTHORITY, certificate)

    # --- one join

    async def invite(self, token_id: str, sealed: bytes, *, lifetime: float) -> None:
        """Store an invitation for `lifetime` seconds."""
        await self._redis.call("SET", keys.join_invitation(token_id), sealed, "PX", int(lifetime * 1000))

    async def invitation(self, token_id: str) -> bytes | None:
        """Return the sealed invitation, or None if it has expired or was used."""
        found = await self._redis.call("GET", keys.join_invitation(token_id))
        return None if found is None else bytes(found)

    async def request(self, token_id: str) -> bytes | None:
        """Return the sealed request of the token's holder, or None."""
        found = await self._redis.call("GET", keys.join_request(token_id))
        return None if found is None else bytes(found)

    async def answer(self, token_id: str, sealed: bytes) -> bool:
        """Answer a request, which uses up the token. Returns False if it was used before."""
        return await self._answer(token_id, sealed)

    async def refuse(self, token_id: str) -> None:
        """Answer a request with an unknown token: there is no key to seal an answer with."""
        await self._answer(token_id, REFUSED)

    async def _answer(self, token_id: str, sealed: bytes) -> bool:
        names = (keys.join_invitation(token_id), keys.join_request(token_id), keys.join_answer(token_id))
        return bool(await self._redis.run(_ANSWER, names, (sealed, ANSWER_SECONDS * 1000)))

    async def ask(self, token_id: str, sealed: bytes) -> None:
        """Store a request and wake a controller."""
        await self._redis.call("SET", keys.join_request(token_id), sealed, "EX", ANSWER_SECONDS)
        await self._wake(token_id)

    async def take_answer(self, token_id: str) -> bytes | None:
        """Return the sealed answer and remove it; None while there is none."""
        found = await self._redis.call("GETDEL", keys.join_answer(token_id))
        return None if found is None else bytes(found)

    # --- gateways that have joined

    async def publish(self, gateway_id: str, certificates: GatewayCertificates) -> None:
        """Publish a gateway's certificates and requests, and wake a controller."""
        await self._redis.call("HSET", keys.GATEWAYS_JOINED, gateway_id, msgspec.json.encode(certificates))
        await self._wake(gateway_id)

    async def joined(self) -> dict[str, GatewayCertificates]:
        """Return what each gateway has published, by its id. Unreadable entries are left out."""
        found = await self._redis.call("HGETALL", keys.GATEWAYS_JOINED)
        rows = {}
        for at in range(0, len(found), 2):
            try:
                rows[found[at].decode()] = _CERTIFICATES.decode(found[at + 1])
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
        return rows

    async def renew(self, gateway_id: str, renewed: RenewedCertificates) -> None:
        """Publish new certificates for a gateway, and notify all gateways."""
        await self._redis.call("HSET", keys.GATEWAYS_RENEWED, gateway_id, msgspec.json.encode(renewed))
        await self._redis.call("XADD", keys.GATEWAYS_NEWS, "MAXLEN", "~", WORK_KEPT, "*", "id", gateway_id)

    async def renewed(self, gateway_id: str) -> RenewedCertificates | None:
        """Return the newest certificates for a gateway, or None if no controller has issued any."""
        found = await self._redis.call("HGET", keys.GATEWAYS_RENEWED, gateway_id)
        return None if found is None else _RENEWED.decode(found)

    # --- the controller's wake-ups

    async def work(self, after: str, *, timeout: float) -> tuple[str, list[str]]:  # noqa: ASYNC109
        """Wait up to `timeout` seconds for requests after a stream position (`"0"`: from the oldest).

        Returns the new position and the ids of tokens and gateways (without duplicates, may be empty).
        """
        return await self._after(keys.GATEWAYS_WORK, after, timeout)

    async def news(self, after: str, *, timeout: float) -> tuple[str, list[str]]:  # noqa: ASYNC109
        """For gateways, as `work`: the ids of gateways for which there are new certificates."""
        return await self._after(keys.GATEWAYS_NEWS, after, timeout)

    async def _after(self, stream: str, after: str, timeout: float) -> tuple[str, list[str]]:  # noqa: ASYNC109
        command = ("XREAD", "COUNT", WORK_KEPT)
        found = await self._redis.call(*command, "STREAMS", stream, after)
        if not found:
            milliseconds = max(1, int(timeout * 1000))
            found = await self._redis.wait(*command, "BLOCK", milliseconds, "STREAMS", stream, after, seconds=timeout)
        entries = list(found[0][1]) if found else []
        if not entries:
            return after, []
        return entries[-1][0].decode(), list(dict.fromkeys(fields[1].decode() for _, fields in entries))

    async def _wake(self, asks: str) -> None:
        await self._redis.call("XADD", keys.GATEWAYS_WORK, "MAXLEN", "~", WORK_KEPT, "*", "id", asks)
