"""Watching one cluster: one poll for all of its jobs, as often as is worth it.

Owns: when to poll, what the last finished poll showed, since when an attempt is absent and the cluster silent.
Refuses to know records and what follows from a view.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

from batch.contract import JobState, JobView, Launcher, LauncherError
from batch.reconcile import Sight
from state.config import ClusterConfig
from state.names import server_key

log = logging.getLogger("towpath.watch")

HURRY_SECONDS: Final = 10.0
CALM_TICKS: Final = 5
RUNNING_TICKS: Final = 20
"""Between two polls where jobs only run: a job's start and its end are told by its starter, and are looked at when they
are. What is left to be found is an end without a word (the node's, or of a starter that was killed)."""
IDLE_SECONDS: Final = 30.0
SETTLE_SECONDS: Final = 30.0
"""For so long after an end the polls stay CALM_TICKS apart: the accounting tells its figures a little later."""
LATENCY_SHARE: Final = 5
"""A poll that takes a second is made every five seconds at most."""
AT_ONCE_SECONDS: Final = 0.1
"""Reports that come within so long of each other are one reason to poll."""
LONGEST_BACK_OFF: Final = 15.0
"""One request in so long is no burden on a scheduler that comes back, and people wait for it."""


class ClusterWatch:
    """The view of one cluster. Times are the loop's."""

    def __init__(
        self,
        config: ClusterConfig,
        launcher: Launcher,
        changed: Callable[[str], None],
        recovered: Callable[[], None] = lambda: None,
    ) -> None:
        """`changed` is called with the key of each server whose job looks different than before.

        `recovered` is called when the cluster answers again after it did not.
        """
        self.config = config
        self.launcher = launcher
        self._changed = changed
        self._recovered = recovered
        self._views: Mapping[str, JobView] = {}
        self._by_key: dict[str, list[JobView]] = {}
        self._began: float | None = None  # of the last finished poll
        self._as_of = 0.0  # the same, by the calendar
        self._submitted: dict[str, float] = {}
        self._present: dict[str, float] = {}  # attempt → when a poll last showed it, or it was first asked for
        self._failing_since: float | None = None
        self._failures = 0
        self._latency = 0.0
        self._hurry_until = 0.0
        self._settled_at = 0.0
        # On this machine a look costs a read of /proc; elsewhere a message to everybody's scheduler.
        self._running_ticks = CALM_TICKS if config.kind == "local" else RUNNING_TICKS
        self._heard: dict[str, str] = {}
        self._woken = False
        self._poke = asyncio.Event()

    def sight(self, attempt: str) -> Sight:
        """What is known of one attempt."""
        now = asyncio.get_running_loop().time()
        down = now - self._failing_since if self._failing_since is not None else 0.0
        view = self._views.get(attempt)
        fresh = self._began is not None and self._failing_since is None
        fresh = fresh and (self._began or 0.0) > self._submitted.get(attempt, -1.0)
        if view is not None or not fresh:
            self._present.pop(attempt, None)
            return Sight(view=view, fresh=fresh, down_for=down, as_of=self._as_of)
        since = self._present.setdefault(attempt, now)
        return Sight(fresh=True, absent_for=now - since)

    def of_key(self, key: str) -> list[JobView]:
        """All jobs of one server, of whatever attempt."""
        return self._by_key.get(key, [])

    def submitted(self, attempt: str) -> None:
        """A submit has just been done: polls from before say nothing about it."""
        self._submitted[attempt] = asyncio.get_running_loop().time()
        self.hurry()

    def heard(self, attempt: str, word: str) -> None:
        """A job has reported what the last poll does not show: poll at once, once for each word of it."""
        if self._heard.get(attempt) != word:
            self._heard[attempt] = word
            self._woken = True
            self._poke.set()

    def hurry(self) -> None:
        """Something is on its way: poll at every tick for a while."""
        self._hurry_until = asyncio.get_running_loop().time() + HURRY_SECONDS
        self._poke.set()

    async def run(self) -> None:
        """Poll until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await self._poll(began)
            self._latency = loop.time() - began
            while (wait := began + self._pause(loop.time()) - loop.time()) > 0:
                self._poke.clear()
                try:
                    async with asyncio.timeout(wait):
                        await self._poke.wait()
                except TimeoutError:
                    break

    def _pause(self, now: float) -> float:
        least = max(self.config.tick, LATENCY_SHARE * self._latency)
        if self._woken and not self._failures:
            return max(AT_ONCE_SECONDS, LATENCY_SHARE * self._latency)
        if self._failures:
            return self._latency + max(self.config.tick, min(self.config.tick * 2.0**self._failures, LONGEST_BACK_OFF))
        if now < self._hurry_until:
            return least
        live = [view.state for view in self._views.values() if not view.state.final]
        if now < self._settled_at:
            return max(least, CALM_TICKS * self.config.tick)
        if not live:
            return max(least, IDLE_SECONDS)
        return max(least, (self._running_ticks if set(live) == {JobState.ACTIVE} else CALM_TICKS) * self.config.tick)

    async def _poll(self, began: float) -> None:
        as_of = time.time()
        self._woken = False
        try:
            views = await self.launcher.poll()
        except Exception as error:  # another's launcher may break its word
            if not isinstance(error, LauncherError):
                log.exception("The launcher of %s broke its contract.", self.config.name)
            self._failures += 1
            if self._failing_since is None:
                self._failing_since = began
            log.warning("%s does not answer: %s", self.config.name, error)
            return
        if self._failures:
            self._recovered()
        self._failures, self._failing_since, self._began, self._as_of = 0, None, began, as_of
        self._submitted = {attempt: at for attempt, at in self._submitted.items() if at >= began}
        self._take(views)

    def _take(self, views: Mapping[str, JobView]) -> None:
        """Keep what was shown, and tell what differs from before."""
        before, self._views = self._views, views
        self._heard = {attempt: word for attempt, word in self._heard.items() if attempt in views}
        self._by_key = {}
        for view in views.values():
            self._by_key.setdefault(server_key(view.user, view.server), []).append(view)
        for attempt, view in views.items():
            old = before.get(attempt)
            if view.state.final and old is not None and not old.state.final:
                self._settled_at = asyncio.get_running_loop().time() + SETTLE_SECONDS
            if old is not view and old != view and not (old is None and view.state.final):
                self._changed(server_key(view.user, view.server))
        for attempt, view in before.items():
            if attempt not in views:
                self._changed(server_key(view.user, view.server))
