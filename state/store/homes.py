"""Where the servers of a cluster are stored if only one machine and one data directory know its jobs.

Key layout: docs/state.md, tag `{home:CLUSTER}`. A controller on another machine, or with another data directory, would
see none of the running servers and consider them lost.
"""

import time
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from state.redis.client import Redis, Script
from state.store import keys

ALIVE_SECONDS: Final = 60.0
"""A controller that was seen within this many seconds is running."""

# KEYS: home. ARGV: the caller's id, its JSON, whether it may replace another. Returns what is there afterwards.
_CLAIM: Final = Script("""
local held = redis.call('GET', KEYS[1])
if not held or ARGV[3] == '1' or cjson.decode(held).id == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2])
  return ARGV[2]
end
return held
""")


class ClusterHome(Struct, frozen=True, kw_only=True):
    """The data directory in which a cluster stores its servers. `id` distinguishes them; `where` is for display."""

    id: str
    where: str
    seen: float = 0.0

    def alive(self, now: float) -> bool:
        """Return whether a controller was active a moment ago."""
        return now - self.seen < ALIVE_SECONDS


_HOME: Final = msgspec.json.Decoder(ClusterHome)


class Homes:
    """All methods raise StateUnavailableError if Redis cannot serve requests."""

    def __init__(self, redis: Redis, *, clock: Callable[[], float] = time.time) -> None:
        self._redis = redis
        self._clock = clock

    async def claim(self, cluster: str, home: ClusterHome, *, replace: bool = False) -> ClusterHome:
        """Store the cluster's servers here, unless they are elsewhere; return where they are.

        The holder repeats this to show that it is running. `replace`: take over from another home.
        """
        record = msgspec.json.encode(msgspec.structs.replace(home, seen=self._clock()))
        found = await self._redis.run(_CLAIM, (keys.home(cluster),), (home.id, record, int(replace)))
        return _HOME.decode(found)
