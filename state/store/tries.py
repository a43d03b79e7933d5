"""Sign-in attempts: how many recently, and how long the next one must wait.

Key layout: docs/state.md, tags `{try:a:…}` and `{try:n:…}`. An attempt is counted when it begins and not when it fails,
so that a thousand at the same time count as a thousand; one that did not fail is subtracted again. Names and addresses
are stored as digests only, because users type passwords into the wrong field. Does not know what is tried, or how many
attempts are too many: a `Limit` says so.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from state.redis.client import Redis, Script
from state.redis.connection import Argument
from state.store import keys

FAMILIAR_KEPT: Final = 64
"""Places remembered for a name. The least recently used ones are removed first."""

# KEYS: counts. ARGV: now, then for each count: free, leak, first, most.
# The answer: how long to wait and which count says so, or 0 and until when each of them is now blocked.
_BEGIN: Final = Script("""
local now = tonumber(ARGV[1])
local wait, by, counts, since = 0, 0, {}, {}
for at, key in ipairs(KEYS) do
  local kept = redis.call('HMGET', key, 'count', 'since', 'shut')
  local leak = tonumber(ARGV[at * 4 - 1])
  since[at] = tonumber(kept[2] or now)
  local forgotten = math.max(0, math.floor((now - since[at]) / leak))
  counts[at] = math.max(0, tonumber(kept[1] or 0) - forgotten) + 1
  since[at] = counts[at] == 1 and now or since[at] + forgotten * leak
  local shut = tonumber(kept[3] or 0) - now
  if shut > wait then wait, by = shut, at end
end
if wait > 0 then return {tostring(wait), by} end
local reply = {'0'}
for at, key in ipairs(KEYS) do
  local free, leak = tonumber(ARGV[at * 4 - 2]), tonumber(ARGV[at * 4 - 1])
  local first, most = tonumber(ARGV[at * 4]), tonumber(ARGV[at * 4 + 1])
  local over = counts[at] - free
  local delay = 0
  if over >= 1 then delay = math.min(most, first * 2 ^ math.min(over - 1, 60)) end
  -- Not blocked is no time: requests arrive in another order than their clocks were read.
  local shut = delay > 0 and string.format('%.3f', now + delay) or '0'
  redis.call('HSET', key, 'count', counts[at], 'since', string.format('%.3f', since[at]), 'shut', shut)
  redis.call('PEXPIRE', key, math.ceil(math.max(counts[at] * leak, delay) * 1000) + 1000)
  reply[at + 1] = shut
end
return reply
""")

# KEYS: counts. ARGV: until when this attempt had blocked each of them.
_TAKE_BACK: Final = Script("""
for at, key in ipairs(KEYS) do
  local kept = redis.call('HMGET', key, 'count', 'shut')
  if kept[1] then
    redis.call('HSET', key, 'count', math.max(0, tonumber(kept[1]) - 1))
    if kept[2] == ARGV[at] then redis.call('HSET', key, 'shut', '0') end
  end
end
return 1
""")

# KEYS: familiar, counts. ARGV: now, forget at, how many to keep, places.
_KNOW: Final = Script("""
for at = 4, #ARGV do redis.call('ZADD', KEYS[1], 'GT', ARGV[2], ARGV[at]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[3]))
redis.call('PEXPIRE', KEYS[1], math.ceil((tonumber(ARGV[2]) - tonumber(ARGV[1])) * 1000))
for at = 2, #KEYS do redis.call('DEL', KEYS[at]) end
return 1
""")


class Limit(Struct, frozen=True, kw_only=True):
    """How many attempts are allowed.

    `free` attempts cost nothing. After each further one the counter is blocked, first for `first` seconds, then for
    twice as long as the last time, at most for `most`. One attempt expires every `leak` seconds.
    """

    free: int
    leak: float
    first: float = 2.0
    most: float


class Begun(Struct, frozen=True):
    """An attempt that may continue: until when it has blocked each counter, by key."""

    shut: dict[str, str]


class Wait(Struct, frozen=True):
    """An attempt that must wait `seconds` until the counter at `key` is free again. It was not counted."""

    seconds: float
    key: str


class Tries:
    """The counters.

    All methods raise StateUnavailableError if Redis cannot serve requests. Times are in epoch seconds.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def begin(self, limits: Mapping[str, Limit], *, now: float) -> Begun | Wait:
        """Count an attempt under each of these keys (with one hash tag), or under none, atomically."""
        order = list(limits)
        args: list[Argument] = [repr(now)]
        for limit in limits.values():
            args += [limit.free, limit.leak, limit.first, limit.most]
        reply = await self._redis.run(_BEGIN, order, args)
        if (wait := float(reply[0])) > 0:
            return Wait(wait, order[int(reply[1]) - 1])
        return Begun(dict(zip(order, (each.decode() for each in reply[1:]), strict=True)))

    async def take_back(self, begun: Begun) -> None:
        """Subtract an attempt that did not fail. Expired counters are not changed."""
        await self._redis.run(_TAKE_BACK, list(begun.shut), list(begun.shut.values()))

    async def familiar(self, name: str, places: Sequence[str], *, now: float) -> frozenset[str]:
        """Return the places from which this name (its digest) has signed in before."""
        found = await self._redis.pipeline([("ZSCORE", keys.familiar(name), place) for place in places])
        return frozenset(
            place for place, until in zip(places, found, strict=True) if until is not None and float(until) > now
        )

    async def succeeded(
        self, name: str, counts: Sequence[str], places: Sequence[str], *, now: float, keep: float
    ) -> None:
        """Reset these counters of a name, and remember for `keep` seconds that it signed in from these places."""
        await self._redis.run(
            _KNOW, (keys.familiar(name), *counts), (repr(now), repr(now + keep), FAMILIAR_KEPT, *places)
        )
