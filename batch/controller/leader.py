"""One term of leadership: from the lease to its loss.

Owns the tasks of a term (renewal, wake-ups, scans, polls, catalogs, the dispatch of work) and the comparison of routes
with ready servers. Does not decide about servers (`batch.controller.reconcile`) or act on them
(`batch.controller.executor`).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from batch.contract import Launcher, SshLogins
from batch.controller.audit_writer import export, keep, sinks
from batch.controller.catalog_refresh import refresh
from batch.controller.cluster_health import report_clusters
from batch.controller.executor import Executor
from batch.controller.joins import answer_joins
from batch.controller.poll_schedule import stage_of
from batch.controller.reconcile import Action, Sight, orphan, reconcile
from batch.controller.ssh_passes import PassIssuer
from batch.controller.submits import JobContext
from batch.controller.watcher import ClusterWatch
from batch.controller.workqueue import WorkQueue
from batch.hooks.hooks import Hooks
from state.config.addresses import base_path
from state.config.tables import Config
from state.errors import ConflictError, FencedError, StateUnavailableError
from state.names import server_key
from state.records.log_fields import log_fields
from state.records.models import Server, Target
from state.records.readiness import is_ready, route_changes
from state.store.all import Store
from state.store.health import LEASE

log = logging.getLogger("towpath.controller")

LEASE_SECONDS: Final = 10.0
RENEW_SECONDS: Final = 3.0
SCAN_SECONDS: Final = 10.0
WORK_SECONDS: Final = 5.0
AT_ONCE: Final = 32
OUTAGE_PAUSE: Final = 0.3
REVIEW_SECONDS: Final = 20.0
"""Between two looks at the records that could not be read."""
SWEEP_SECONDS: Final = 600.0
"""Seconds between sweeps for what remains of deleted users, servers, groups and services."""
OVER_SECONDS: Final = 3600.0
"""Seconds for which an ended attempt is remembered after its cluster no longer shows it."""


class LeaseLostError(Exception):
    """Another controller is leading, or may be."""


class Dependencies(Struct, frozen=True, kw_only=True):
    """What a term works with."""

    store: Store
    config: Config
    launchers: Mapping[str, Launcher]
    job_context: JobContext
    fault: Callable[[str], None]
    joins: Path | None = None
    """The data directory of the authority, where gateways may join; None: this hub needs no certificates."""


class Term:
    """One term, under one fencing token."""

    def __init__(self, dependencies: Dependencies, *, holder: str, fence: int) -> None:
        self._store = dependencies.store
        self._audit = dependencies.config.audit
        self._services = [service.name for service in dependencies.config.service]
        self._joins = dependencies.joins
        self._launchers = dependencies.launchers
        self._holder = holder
        self._fence = fence
        self._base = base_path(dependencies.config)
        self._windows = {cluster.name: float(cluster.start_window) for cluster in dependencies.config.cluster}
        self._tick = min((cluster.tick for cluster in dependencies.config.cluster), default=1.0)
        self._queue = WorkQueue(at_once=AT_ONCE)
        self._again = {cluster.name: asyncio.Event() for cluster in dependencies.config.cluster}
        self._watches = {
            cluster.name: ClusterWatch(
                cluster, dependencies.launchers[cluster.name], self._queue.put, self._back(cluster.name)
            )
            for cluster in dependencies.config.cluster
            if cluster.name in dependencies.launchers
        }
        config = dependencies.config
        self._hooks = Hooks(config.hook, config.auth, dependencies.store.auth_states, wake=self._queue.put)
        self._executor = Executor(
            dependencies.store,
            dependencies.config,
            self._watches,
            fence=fence,
            context=dependencies.job_context,
            fault=dependencies.fault,
            hooks=self._hooks,
        )
        self._moving: set[str] = set()
        self._unused: dict[str, int] = {}
        self._over: dict[str, float] = {}  # attempt → when its record last said that it has ended or is to end
        self._group = asyncio.TaskGroup()

    async def run(self) -> None:
        """Lead until cancelled. Raises LeaseLostError."""
        try:
            async with self._group as group:
                group.create_task(self._renew())
                group.create_task(self._follow())
                group.create_task(self._scan())
                group.create_task(self._sweep())
                group.create_task(self._review())
                group.create_task(self._revisit())
                group.create_task(self._dispatch())
                group.create_task(keep(self._store.audit, self._audit))
                group.create_task(report_clusters(self._store.health, self._watches.values()))
                if self._joins is not None:
                    group.create_task(answer_joins(self._store.joining, self._joins))
                    if any(isinstance(each, SshLogins) for each in self._launchers.values()):
                        group.create_task(PassIssuer(self._store, self._launchers, self._joins).run())
                for sink in sinks(self._audit):
                    group.create_task(export(self._store.audit, sink, fence=self._fence))
                for watch in self._watches.values():
                    group.create_task(watch.run())
                    group.create_task(
                        refresh(
                            self._store.catalogs,
                            watch.config,
                            watch.launcher,
                            fence=self._fence,
                            again=self._again[watch.config.name],
                        )
                    )
        except BaseExceptionGroup as group:
            if group.split((FencedError, LeaseLostError))[1] is None:
                raise LeaseLostError("Another controller is leading.") from group
            raise
        finally:
            self._queue.close()
            self._hooks.close()

    def _back(self, cluster: str) -> Callable[[], None]:
        """Return a callback for a cluster that answers again. It wakes everything that waited for the cluster."""

        def back() -> None:
            self._queue.retry()
            self._again[cluster].set()

        return back

    async def _renew(self) -> None:
        loop = asyncio.get_running_loop()
        held = loop.time()
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                began = loop.time()
                if not await self._store.leases.renew(LEASE, self._holder, self._fence, seconds=LEASE_SECONDS):
                    raise LeaseLostError("Another controller has the lease.")
                held = began
            except StateUnavailableError as error:
                if loop.time() - held > LEASE_SECONDS:
                    raise LeaseLostError("The lease could not be renewed in time.") from error

    async def _follow(self) -> None:
        position = "$"
        while True:
            try:
                position, keys = await self._store.servers.work(position, timeout=WORK_SECONDS)
            except StateUnavailableError:
                await asyncio.sleep(OUTAGE_PAUSE)
                continue
            for key in keys:
                self._queue.put(key)

    async def _scan(self) -> None:
        """Check everything that is active, because wake-ups can be lost and routes can be missing."""
        while True:
            try:
                await self._scan_once()
            except StateUnavailableError:
                await asyncio.sleep(OUTAGE_PAUSE)
                continue
            except (FencedError, LeaseLostError):
                raise
            except Exception:
                log.exception("The scan of all servers has failed; it is tried again.")
            await asyncio.sleep(SCAN_SECONDS)

    async def _scan_once(self) -> None:
        marks = await self._store.servers.active()
        records, bad = await self._store.servers.read(list(marks))
        await self._settle({key: mark for key, mark in marks.items() if key not in bad}, records)
        self._forget()
        for key in marks.keys() - bad:
            self._queue.put(key)
        snapshot = await self._store.feed.snapshot()
        routable, stray = route_changes(records.values(), snapshot.routes, self._base)
        for server in routable:
            log.info("A missing route was published %s", log_fields(server))
            await self._executor.publish(server)
        for route in stray:
            key = server_key(route.user, route.name)
            now, unreadable = await self._store.servers.read([key])  # it may have become ready since the scan began
            if key in unreadable:
                continue  # its server keeps running
            held = now.get(key)
            if held is None or not is_ready(held) or held.attempt != route.attempt:
                await self._store.feed.drop_route(route.prefix, attempt=route.attempt)

    async def _review(self) -> None:
        """Write down which records cannot be read, and take those off the list that can be read again."""
        while True:
            try:
                await self._store.bad_records.tell()
                await self._store.bad_records.review()
            except StateUnavailableError:
                pass  # the next time
            await asyncio.sleep(REVIEW_SECONDS)

    async def _sweep(self) -> None:
        """Remove what must not outlive a user, server, group or service, and was left behind by a crash."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                swept = await self._store.orphans.sweep(services=self._services, now=time.time())
            except StateUnavailableError:
                continue  # retried at the next interval
            if swept:
                counts = " ".join(f"{kind}={count}" for kind, count in sorted(swept.items()))
                log.warning("Orphans were removed %s", counts)

    def _forget(self) -> None:
        """Forget attempts that ended long ago and that no cluster shows."""
        now = time.time()
        self._over = {
            attempt: at
            for attempt, at in self._over.items()
            if now - at < OVER_SECONDS or any(watch.shows(attempt) for watch in self._watches.values())
        }

    async def _settle(self, marks: Mapping[str, int], records: Mapping[str, Server]) -> None:
        """Take settled servers off the list. Records are read after their marks, so that a new start is not missed.

        A mark is written before its record. A mark without a record is removed if that is still so at the next scan.
        """
        unused = {key: mark for key, mark in marks.items() if key not in records}
        for key, mark in unused.items():
            if self._unused.get(key) == mark:
                await self._store.servers.settle(key, mark)
        self._unused = unused
        for key in self._executor.settled & marks.keys():
            if key in records and not records[key].active:
                await self._store.servers.settle(key, marks[key])
        self._executor.settled.clear()

    async def _revisit(self) -> None:
        """Check servers in transition at every tick, because start windows and cancellations are timed."""
        while True:
            await asyncio.sleep(self._tick)
            for key in list(self._moving):
                self._queue.put(key)

    async def _dispatch(self) -> None:
        while True:
            keys = await self._queue.take()
            try:
                records, bad = await self._store.servers.read(keys)
            except StateUnavailableError:
                await asyncio.sleep(OUTAGE_PAUSE)
                for key in keys:
                    self._queue.put(key)
                continue
            for key in keys:
                if key in bad:
                    continue  # it is set aside: nothing is decided about it, and its job is not an orphan
                server = records.get(key)
                try:
                    actions = self._decide(key, server)
                except Exception:
                    log.exception("A server could not be handled %s", log_fields(server, key))
                    continue
                if actions:
                    cluster = "" if server is None else server.cluster
                    task = self._task(key, server, actions)
                    self._group.create_task(self._queue.work(key, task, cluster=cluster))

    def _decide(self, key: str, server: Server | None) -> list[Action]:
        now = time.time()
        actions: list[Action] = []
        self._moving.discard(key)
        if server is not None:
            if not server.active or server.target is Target.STOPPED:
                self._over[server.attempt] = now
            watch = self._watches.get(server.cluster)
            # A cluster that is not configured any more has no jobs that we can see: a stop there is complete.
            gone = Sight(fresh=server.target is Target.STOPPED)
            sight = watch.sight(server.attempt) if watch else gone
            if watch:
                stage = stage_of(server, sight)
                watch.follow(key, server.attempt, stage)
                watch.know(key, server if server.active or stage is not None else None)
            actions = reconcile(server, sight, now=now, window=self._windows.get(server.cluster, 0.0))
            if server.active and not is_ready(server):
                self._moving.add(key)
        else:
            for watch in self._watches.values():
                watch.follow(key, "", None)
                watch.know(key, None)
        for name, watch in self._watches.items():
            for view in watch.of_key(key):
                actions = [*actions, *orphan(view, server, cluster=name, now=now, over=view.attempt in self._over)]
        return actions

    def _task(self, key: str, server: Server | None, actions: list[Action]) -> Callable[[], Coroutine[Any, Any, bool]]:
        async def task() -> bool:
            try:
                return await self._executor.act(server, actions)
            except ConflictError:  # another process was faster: decide again
                self._queue.put(key)
                return True
            except StateUnavailableError:
                return False
            except FencedError:
                raise
            except Exception:
                log.exception("An action failed %s", log_fields(server, key))
                return False

        return task
