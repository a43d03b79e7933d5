"""Tries at signing in: how many of late, and how long the next one has to wait.

Key layout: docs/state.md, tags `{try:a:…}` and `{try:n:…}`. A try is counted when it begins, not when it has failed, so
that a thousand at the same moment are a thousand; one that did not fail is taken back. Names and addresses are kept as
digests only: people type passwords into the wrong field.
Refuses to know what is tried, and how much is too much: a `Limit` says so.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from state.redis.client import Redis, Script
from state.store import keys

FAMILIAR_KEPT: Final = 64
"""Places remembered for a name: the longest unused are forgotten first."""

# KEYS: counts. ARGV: now, then for each count: free, leak, first, most.
# The answer: how long to wait and which count says so, or 0 and until when each of them is now shut.
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
local told = {'0'}
for at, key in ipairs(KEYS) do
  local free, leak = tonumber(ARGV[at * 4 - 2]), tonumber(ARGV[at * 4 - 1])
  local first, most = tonumber(ARGV[at * 4]), tonumber(ARGV[at * 4 + 1])
  local over = counts[at] - free
  local delay = 0
  if over >= 1 then delay = math.min(most, first * 2 ^ math.min(over - 1, 60)) end
  local shut = string.format('%.3f', now + delay)
  redis.call('HSET', key, 'count', counts[at], 'since', string.format('%.3f', since[at]), 'shut', shut)
  redis.call('PEXPIRE', key, math.ceil(math.max(counts[at] * leak, delay) * 1000) + 1000)
  told[at + 1] = shut
end
return told
""")

# KEYS: counts. ARGV: until when this try had shut each of them.
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
    """How much is too much.

    `free` tries cost nothing; after each further one the count is shut, first for `first` seconds, then for twice as
    long as the last time, at most for `most`. One try is forgotten every `leak` seconds.
    """

    free: int
    leak: float
    first: float = 2.0
    most: float


class Begun(Struct, frozen=True):
    """A try that may go on: until when it has shut each count, by key."""

    shut: dict[str, str]


class Wait(Struct, frozen=True):
    """A try that may not: `seconds` until the count at `key` is open again. It has counted nowhere."""

    seconds: float
    key: str


class Tries:
    """The counts. All verbs raise StateUnavailableError when Redis cannot serve. Times: seconds since the epoch."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def begin(self, limits: Mapping[str, Limit], *, now: float) -> Begun | Wait:
        """Count a try under each of these keys (all of one hash tag), or under none, atomically."""
        order = list(limits)
        args: list[Any] = [repr(now)]
        for limit in limits.values():
            args += [limit.free, limit.leak, limit.first, limit.most]
        told = await self._redis.run(_BEGIN, order, args)
        if (wait := float(told[0])) > 0:
            return Wait(wait, order[int(told[1]) - 1])
        return Begun(dict(zip(order, (each.decode() for each in told[1:]), strict=True)))

    async def take_back(self, begun: Begun) -> None:
        """It was no failure: the counts are as they would be without it. No effect on counts that are gone."""
        await self._redis.run(_TAKE_BACK, list(begun.shut), list(begun.shut.values()))

    async def familiar(self, name: str, places: Sequence[str], *, now: float) -> frozenset[str]:
        """Which of these places this name (its digest) has signed in from."""
        found = await self._redis.pipeline([("ZSCORE", keys.familiar(name), place) for place in places])
        return frozenset(
            place for place, until in zip(places, found, strict=True) if until is not None and float(until) > now
        )

    async def succeeded(
        self, name: str, counts: Sequence[str], places: Sequence[str], *, now: float, keep: float
    ) -> None:
        """Forget these counts of a name, and remember for `keep` seconds that it signed in from these places."""
        await self._redis.run(
            _KNOW, (keys.familiar(name), *counts), (repr(now), repr(now + keep), FAMILIAR_KEPT, *places)
        )
