"""Watches one cluster: one poll for all of its jobs, as often as needed.

Owns the polls, the result of the last finished one, since when an attempt is absent or the cluster silent, and what
servers wait for (`batch.controller.poll_schedule` says when a poll is due). Does not know records, or what follows from
a view.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from msgspec.structs import replace

from batch.contract import JobView, Launcher, LauncherError
from batch.controller.poll_schedule import GAPS, HERE, PollRequest, Stage, next_look, stage_of
from batch.controller.reconcile import Sight
from state.config.tables import ClusterConfig
from state.names import server_key
from state.plugins.launchers import kind_of
from state.records.models import Server

log = logging.getLogger("towpath.watch")

LATENCY_SHARE: Final = 5
"""A poll that takes one second is made every five seconds at most."""
LONGEST_BACK_OFF: Final = 15.0
"""Maximum seconds between attempts during an outage. That is little load, and users are waiting."""


class Silence(NamedTuple):
    """An outage of a cluster: for how many seconds, since when (epoch), and the last error."""

    seconds: float
    since: float
    reason: str


class ClusterWatch:
    """The current view of one cluster. Times are those of the event loop."""

    def __init__(
        self,
        config: ClusterConfig,
        launcher: Launcher,
        changed: Callable[[str], None],
        recovered: Callable[[], None] = lambda: None,
    ) -> None:
        """`changed` is called with the key of each server whose job has changed.

        `recovered` is called when the cluster answers again after an outage.
        """
        self.config = config
        self.launcher = launcher
        self._changed = changed
        self._recovered = recovered
        self._views: Mapping[str, JobView] = {}
        self._by_key: dict[str, list[JobView]] = {}
        self._began: float | None = None  # of the last finished poll
        self._as_of = 0.0  # the same, in seconds since the epoch
        self._submitted: dict[str, float] = {}
        self._absent: dict[str, float] = {}  # attempt → start of the first poll that should have shown it
        self._failing_since: float | None = None
        self._failures = 0
        self._reason = ""
        self._latency = 0.0
        self._last = 0.0  # when the last poll began, finished or not
        self._gaps = HERE if kind_of(config).cheap_polls else GAPS
        self._requests: dict[str, PollRequest] = {}  # of servers, by their keys
        self._others: dict[str, PollRequest] = {}  # of jobs without a request for their server, by attempt
        self._records: dict[str, Server] = {}
        self._poll_requested = False
        self._poke = asyncio.Event()

    def sight(self, attempt: str) -> Sight:
        """Return what is known about one attempt."""
        now = asyncio.get_running_loop().time()
        down = now - self._failing_since if self._failing_since is not None else 0.0
        view = self._views.get(attempt)
        fresh = self._began is not None and self._failing_since is None
        fresh = fresh and (self._began or 0.0) > self._submitted.get(attempt, -1.0)
        if view is not None or not fresh:
            self._absent.pop(attempt, None)
            return Sight(view=view, fresh=fresh, down_for=down, as_of=self._as_of)
        began = self._began or 0.0
        return Sight(fresh=True, absent_for=began - self._absent.setdefault(attempt, began))

    @property
    def silence(self) -> Silence | None:
        """Return the current outage of the cluster; None: the last poll succeeded."""
        if self._failing_since is None:
            return None
        seconds = asyncio.get_running_loop().time() - self._failing_since
        return Silence(seconds, time.time() - seconds, self._reason)

    def of_key(self, key: str) -> list[JobView]:
        """Return all jobs of one server, for any attempt."""
        return self._by_key.get(key, [])

    def shows(self, attempt: str) -> bool:
        """Return whether the last poll showed this attempt."""
        return attempt in self._views

    def submitted(self, attempt: str) -> None:
        """Note that a submit or cancel was just done, so that earlier polls say nothing about it."""
        self._submitted[attempt] = asyncio.get_running_loop().time()

    def follow(self, key: str, attempt: str, stage: Stage | None) -> None:
        """Set what a server waits for; None: nothing. Repeating it changes nothing."""
        if stage is None:
            self._requests.pop(key, None)
            return
        held = self._requests.get(key)
        if held is not None and (held.attempt, held.stage) == (attempt, stage):
            return
        now = asyncio.get_running_loop().time()
        since = self._submitted.get(attempt, now) if stage is Stage.SUBMITTED else now
        self._requests[key] = PollRequest(attempt=attempt, stage=stage, since=since)
        self._poke.set()

    def know(self, key: str, server: Server | None) -> None:
        """Keep a server's record for the polls; None: it waits for nothing."""
        if server is None:
            self._records.pop(key, None)
        else:
            self._records[key] = server

    def look(self) -> None:
        """Poll as soon as possible, because something went wrong."""
        self._poll_requested = True
        self._poke.set()

    async def run(self) -> None:
        """Poll until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began = self._last = loop.time()
            await self._poll(began)
            self._latency = loop.time() - began
            while (wait := began + self._pause() - loop.time()) > 0:
                self._poke.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._poke.wait()

    def _pause(self) -> float:
        """Return the seconds from the start of the last poll to the next."""
        tick = self.config.tick
        least = max(tick, LATENCY_SHARE * self._latency)
        if self._failures:
            return self._latency + max(tick, min(tick * 2.0**self._failures, LONGEST_BACK_OFF))
        if self._poll_requested:
            return least
        last = self._last
        requests = (*self._requests.values(), *self._others.values())
        return max(least, next_look(requests, last=last, tick=tick, gaps=self._gaps) - last)

    async def _poll(self, began: float) -> None:
        as_of = time.time()
        self._poll_requested = False
        try:
            views = await self.launcher.poll(tuple(self._records.values()))
        except Exception as error:  # a launcher from a plug-in may break its contract
            if not isinstance(error, LauncherError):
                log.exception("The launcher broke its contract cluster=%s", self.config.name)
            self._failures += 1
            self._reason = str(error)
            if self._failing_since is None:
                self._failing_since = began
            log.warning("The cluster does not answer cluster=%s reason=%s", self.config.name, error)
            return
        if self._failures:
            self._recovered()
        self._failures, self._failing_since, self._began, self._as_of = 0, None, began, as_of
        self._submitted = {attempt: at for attempt, at in self._submitted.items() if at >= began}
        self._take(views, began)

    def _take(self, views: Mapping[str, JobView], began: float) -> None:
        """Keep what was shown, and report what has changed."""
        before, self._views = self._views, views
        self._absent = {attempt: at for attempt, at in self._absent.items() if attempt not in views}
        self._by_key = {}
        for view in views.values():
            self._by_key.setdefault(server_key(view.user, view.server), []).append(view)
        self._count(views, began)
        for attempt, view in views.items():
            old = before.get(attempt)
            if old is not view and old != view and not (old is None and view.state.final):
                self._changed(server_key(view.user, view.server))
        for attempt, view in before.items():
            if attempt not in views:
                self._changed(server_key(view.user, view.server))

    def _count(self, views: Mapping[str, JobView], began: float) -> None:
        """Count one more poll for each request, and add a request for each job that has none."""
        for key, request in self._requests.items():
            if request.since <= began:
                self._requests[key] = replace(request, looks=request.looks + 1)
            if request.attempt not in views:
                self._changed(key)  # that it does not exist may be what was waited for
        followed = {request.attempt for request in self._requests.values()}
        others = {}
        for attempt, view in views.items():
            stage = None if attempt in followed else stage_of(None, Sight(view=view))
            held = self._others.get(attempt)
            if stage is not None:
                same = held is not None and held.stage is stage
                looks = held.looks + 1 if same and held is not None else 0
                others[attempt] = PollRequest(attempt=attempt, stage=stage, since=began, looks=looks)
        self._others = others
