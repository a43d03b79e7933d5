"""The problems of a hub, and whether a controller is leading. Key layout: docs/state.md, tag `{health}`."""

import time
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec.structs import replace

from state.records.health import Problem
from state.redis.client import Redis
from state.store import keys

KEPT_SECONDS: Final = 60.0
"""A problem that was not reported again for this long is over, or its reporter is gone."""
LEASE: Final = "controller"
"""The lease of the leading controller."""
_PROBLEM: Final = msgspec.json.Decoder(Problem)


class Health:
    """All methods raise StateUnavailableError if Redis cannot serve requests."""

    def __init__(self, redis: Redis, *, clock: Callable[[], float] = time.time) -> None:
        self._redis = redis
        self._clock = clock

    async def report(self, problem: Problem) -> None:
        """Store a problem for one minute. It is reported again while it lasts."""
        record = msgspec.json.encode(replace(problem, seen=self._clock()))
        await self._redis.call("HSET", keys.HEALTH_PROBLEMS, _field(problem.reporter, problem.part), record)

    async def solved(self, reporter: str, part: str) -> None:
        """Remove the problem of this part, as this process has reported it."""
        await self._redis.call("HDEL", keys.HEALTH_PROBLEMS, _field(reporter, part))

    async def look(self) -> tuple[list[Problem], bool]:
        """Return current problems, oldest first, and whether a controller is leading."""
        found, holder = await self._redis.pipeline(
            (("HGETALL", keys.HEALTH_PROBLEMS), ("GET", keys.lease_holder(LEASE)))
        )
        problems, over = [], []
        for field, value in zip(found[::2], found[1::2], strict=True):
            try:
                problem = _PROBLEM.decode(value)
            except msgspec.DecodeError:
                over.append(field)
                continue
            if self._clock() - problem.seen > KEPT_SECONDS:
                over.append(field)
            else:
                problems.append(problem)
        if over:
            await self._redis.call("HDEL", keys.HEALTH_PROBLEMS, *over)
        return sorted(problems, key=lambda problem: problem.since), holder is not None


def _field(reporter: str, part: str) -> str:
    return f"{reporter}/{part}"
