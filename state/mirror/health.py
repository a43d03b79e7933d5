"""The health of the hub as one process sees it: problems from the store, and whether a controller is leading."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Final

from state.errors import StateUnavailableError
from state.records.health import NO_CONTROLLER, Problem
from state.store.health import Health

log = logging.getLogger("towpath.health")

LOOK_SECONDS: Final = 5.0
LEADERLESS_SECONDS: Final = 60.0
"""A controller that is restarted or replaced leads again within 10 to 20 seconds."""


class HealthWatch:
    """Checks the health every few seconds and keeps the result. `loud`: log changes."""

    def __init__(self, store: Health, *, loud: bool = False, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._loud = loud
        self._clock = clock
        self._led: float | None = None  # when a controller was last seen to lead, or else the time of the first check
        self._leading = True
        self._problems: tuple[Problem, ...] = ()
        self._task: asyncio.Task[None] | None = None

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Current problems, oldest first."""
        return self._problems

    @property
    def starts_wait(self) -> bool:
        """Whether starting or stopping a server has to wait until a problem is solved."""
        return not self._leading and any(problem.part == "controller" for problem in self._problems)

    def start(self) -> None:
        """Start checking in the background."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Stop checking."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def look(self) -> None:
        """Check once. While the store is unavailable, nothing changes."""
        try:
            problems, led = await self._store.look()
        except StateUnavailableError:
            return
        now = self._clock()
        self._leading = led
        if led or self._led is None:
            self._led = now
        if now - self._led >= LEADERLESS_SECONDS:
            problems.append(_no_controller(self._led))
        if self._loud:
            self._tell(problems)
        self._problems = tuple(problems)

    async def _run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    def _tell(self, problems: list[Problem]) -> None:
        before = {(one.reporter, one.part, one.code): one for one in self._problems}
        now = {(one.reporter, one.part, one.code): one for one in problems}
        for key in now.keys() - before.keys():
            problem = now[key]
            log.error(
                "Hub problem code=%s part=%s host=%s reason=%s",
                *(problem.code, problem.part, problem.host or "-", problem.message),
            )
        for key in before.keys() - now.keys():
            problem = before[key]
            log.info("Hub problem solved code=%s part=%s host=%s", problem.code, problem.part, problem.host or "-")


def _no_controller(since: float) -> Problem:
    return Problem(
        code=NO_CONTROLLER,
        part="controller",
        host="",
        message="No controller is leading, so servers cannot be started or stopped. Start a controller, or see its"
        " log if it does not run.",
        since=since,
    )
