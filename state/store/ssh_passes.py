"""Passes with which gateways reach apps by SSH, and the requests for them. Key layout: docs/state.md.

Tags `{ssh}` (the requests) and `{ssh:ATTEMPT}` (a pass for each gateway). What the values mean:
`state.records.ssh`.
"""

from typing import Final

import msgspec

from state.records.ssh import SshPass, SshPassRequest
from state.redis.client import Redis
from state.store import keys

WORK_KEPT: Final = 1000

_PASSES: Final = msgspec.json.Decoder(SshPass)
_REQUESTS: Final = msgspec.json.Decoder(SshPassRequest)


class SshPasses:
    """All methods raise StateUnavailableError if Redis cannot serve requests."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def ask(self, request: SshPassRequest) -> None:
        """Ask the leading controller for a pass."""
        await self._redis.call(
            "XADD", keys.SSH_WORK, "MAXLEN", "~", WORK_KEPT, "*", "asks", msgspec.json.encode(request)
        )

    async def find(self, attempt: str, gateway_id: str) -> SshPass | None:
        """Return a gateway's pass to an attempt, or None. One that cannot be read is as good as none."""
        found = await self._redis.call("GET", keys.ssh_pass(attempt, gateway_id))
        try:
            return None if found is None else _PASSES.decode(found)
        except msgspec.DecodeError:
            return None

    async def give(self, request: SshPassRequest, made: SshPass, *, seconds: float) -> None:
        """Store a pass for so many seconds."""
        key = keys.ssh_pass(request.attempt, request.gateway_id)
        await self._redis.call("SET", key, msgspec.json.encode(made), "PX", max(1, int(seconds * 1000)))

    async def work(self, after: str, *, timeout: float) -> tuple[str, list[SshPassRequest]]:  # noqa: ASYNC109
        """Wait up to `timeout` seconds for requests after a stream position (`"0"`: from the oldest).

        Returns the new position and the requests, without duplicates and unreadable ones.
        """
        command = ("XREAD", "COUNT", WORK_KEPT)
        found = await self._redis.call(*command, "STREAMS", keys.SSH_WORK, after)
        if not found:
            block = ("BLOCK", max(1, int(timeout * 1000)))
            found = await self._redis.wait(*command, *block, "STREAMS", keys.SSH_WORK, after, seconds=timeout)
        entries = list(found[0][1]) if found else []
        if not entries:
            return after, []
        requests: dict[SshPassRequest, None] = {}
        for _, fields in entries:
            try:
                requests[_REQUESTS.decode(fields[1])] = None
            except msgspec.DecodeError:
                continue
        return entries[-1][0].decode(), list(requests)
