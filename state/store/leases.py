"""Leases with fencing tokens, which decide which controller is the leader.

Key layout: docs/state.md, tag `{lease:NAME}`. Taking a lease increases the fencing token. Every write of a leader has
its token, and stores reject lower ones. Does not know what the leader does.
"""

from typing import Final

from state.redis.client import Redis, Script
from state.store import keys

_TAKE: Final = Script("""
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, string.find(held, ':', 1, true) + 1) ~= ARGV[1] then
  return 0
end
local fence = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], fence .. ':' .. ARGV[1], 'PX', ARGV[2])
return fence
""")

_RENEW: Final = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""")

_RELEASE: Final = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""")


class Leases:
    """The leases. All methods raise StateUnavailableError if Redis cannot serve requests."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def take(self, name: str, holder: str, *, seconds: float) -> int | None:
        """Return the fencing token (>= 1) if the lease was free or belonged to this holder; None if another has it.

        A holder that takes it again gets a higher token, which fences off its earlier process.
        """
        fence: int = await self._redis.run(
            _TAKE, (keys.lease_holder(name), keys.lease_fence(name)), (holder, _milliseconds(seconds))
        )
        return fence or None

    async def renew(self, name: str, holder: str, fence: int, *, seconds: float) -> bool:
        """Extend the lease; return False if this holder no longer has it with this token."""
        lease = f"{fence}:{holder}"
        return bool(await self._redis.run(_RENEW, (keys.lease_holder(name),), (lease, _milliseconds(seconds))))

    async def release(self, name: str, holder: str, fence: int) -> bool:
        """Release the lease immediately; return False if this holder did not have it with this token."""
        return bool(await self._redis.run(_RELEASE, (keys.lease_holder(name),), (f"{fence}:{holder}",)))


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))
