"""What is known of the jobs on all hosts, and how a poll brings it up to date.

Owns the memory between polls. A poll makes one request per host, which lists the starters that run there. A job's own
account is asked only where that does not tell enough: a job that is new to us, that has not reported ready, or that
runs no more. A host that does not answer makes its jobs silent, and nobody else's.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from batch.contract import JobState, JobView, LauncherError
from batch.launchers.ssh.answers import Scan
from batch.launchers.ssh.native_id import Place, parse
from batch.launchers.ssh.records import open_record
from batch.launchers.ssh.requests import HostRequests
from batch.launchers.ssh.views import DIRECT, Facts, Look, view_of
from state.records.models import Server, Status

KEEP_SECONDS: Final = 3600.0
"""For so long an ended job stays in the answer."""
FOREIGN_SECONDS: Final = 600.0
"""For so long a process that claims to be a job, and is none of this hub's, is not asked about again."""
RUNNING: Final = (Status.STARTING, Status.READY, Status.STOPPING)


class KnownJob(Struct, kw_only=True):
    """A job as it was last seen.

    `record` None: its folder was not read yet. `ended`: when its end was seen; 0: it runs.
    """

    place: Place
    view: JobView
    record: Server | None = None
    ended: float = 0.0

    @property
    def settled(self) -> bool:
        """Whether all is known that its folder can tell while it runs."""
        return self.record is not None and self.view.report is not None


class JobTable:
    """See the module."""

    def __init__(
        self,
        hosts: HostRequests,
        names: Collection[str],
        key: bytes,
        clock: Callable[[], float] = time.time,
        *,
        endpoints: frozenset[str] = DIRECT,
    ) -> None:
        """`names`: of the hosts. `key`: of the records' seal. `endpoints`: the kinds that the cluster may have."""
        self._endpoints = endpoints
        self._hosts = hosts
        self._names = tuple(names)
        self._key = key
        self._clock = clock
        self._jobs: dict[str, KnownJob] = {}
        self._foreign: dict[tuple[str, str, str], float] = {}
        self.running: dict[str, set[str]] = {}  # host → attempts whose starters the last scan showed

    def place_of(self, attempt: str) -> Place | None:
        """Where an attempt is, by memory."""
        job = self._jobs.get(attempt)
        return job.place if job is not None else None

    def view_of(self, attempt: str) -> JobView | None:
        """How an attempt was last seen."""
        job = self._jobs.get(attempt)
        return job.view if job is not None else None

    def submitted(self, place: Place, view: JobView) -> None:
        """A job was started, or found at its start."""
        if view.attempt not in self._jobs:
            self._jobs[view.attempt] = KnownJob(place=place, view=view)

    async def poll(self, known: Collection[Server]) -> dict[str, JobView]:
        """All jobs: attempt → view. Raises LauncherError when no host answers."""
        before = set(self._jobs)
        self._recall(known)
        scans = await self._scan()
        if scans and all(isinstance(scan, LauncherError) for scan in scans.values()) and not before:
            raise next(scan for scan in scans.values() if isinstance(scan, LauncherError))
        questions: dict[tuple[str, str], set[str]] = {}
        for host, scan in scans.items():
            if isinstance(scan, LauncherError):
                self._silence(host, str(scan))
            else:
                for place, attempt in self._questions(host, scan):
                    questions.setdefault((place.host, place.account), set()).add(attempt)
        await asyncio.gather(
            *(self._look(host, account, sorted(those)) for (host, account), those in questions.items())
        )
        self._forget()
        return {attempt: job.view for attempt, job in self._jobs.items()}

    # --- the steps of a poll

    def _recall(self, known: Iterable[Server]) -> None:
        """Take what records say that we do not know: after a restart, or a job that ended while nobody looked."""
        for server in known:
            place = parse(server.job.native_id) if server.job is not None else None
            if place is None or server.attempt in self._jobs or place.host not in self._names:
                continue
            if server.status is Status.REQUESTED and not place.pid:
                state = JobState.NEW  # it has its place; whether it was started, the host knows
            else:
                state = JobState.ACTIVE if server.status in RUNNING else JobState.QUEUED
            view = JobView(
                attempt=server.attempt, user=server.user, server=server.name, state=state, native_id=str(place),
                node=place.host,
            )  # fmt: skip
            self._jobs[server.attempt] = KnownJob(place=place, view=view)

    async def _scan(self) -> dict[str, Scan | LauncherError]:
        async def one(host: str) -> Scan | LauncherError:
            try:
                return await self._hosts.scan(host)
            except LauncherError as error:
                return error

        answers = await asyncio.gather(*(one(host) for host in self._names))
        return dict(zip(self._names, answers, strict=True))

    def _silence(self, host: str, why: str) -> None:
        for job in self._jobs.values():
            if job.place.host == host and not job.view.state.final:
                job.view = replace(job.view, silent=why)

    def _questions(self, host: str, scan: Scan) -> Iterable[tuple[Place, str]]:
        """Which jobs of a host are to be looked at by their own accounts."""
        now = self._clock()
        alive = {(process.attempt, process.account): process for process in scan.jobs}
        self.running[host] = {process.attempt for process in scan.jobs}
        for attempt, job in self._jobs.items():
            if job.place.host != host or job.view.state.final:
                continue
            process = alive.get((attempt, job.place.account))
            if process is not None and job.settled and not job.view.silent:
                if job.view.state is not JobState.ACTIVE:
                    job.view = replace(job.view, state=JobState.ACTIVE)
            else:
                yield job.place, attempt
        for (attempt, account), process in alive.items():
            key = (attempt, account, host)
            if attempt not in self._jobs and now - self._foreign.get(key, -FOREIGN_SECONDS) >= FOREIGN_SECONDS:
                yield Place(host=host, account=process.account), attempt

    async def _look(self, host: str, account: str, attempts: Sequence[str]) -> None:
        try:
            look = await self._hosts.look(host, account, attempts)
        except LauncherError as error:
            for attempt in attempts:
                if (job := self._jobs.get(attempt)) is not None and not job.view.state.final:
                    job.view = replace(job.view, silent=str(error))
            return
        for attempt in attempts:
            self._take(Place(host=host, account=account), attempt, look.jobs.get(attempt), look)

    def _take(self, place: Place, attempt: str, facts: Facts | None, look: Look) -> None:
        """What a job's own account says of it."""
        job = self._jobs.get(attempt)
        if job is not None and (job.place.host, job.place.account) != (place.host, place.account):
            return  # a folder of another user with this name
        record = open_record(self._key, attempt, (facts.owner or {}).get("record")) if facts is not None else None
        if facts is None or (record is None and not facts.canceled):
            if job is None:
                self._foreign[(attempt, place.account, place.host)] = self._clock()
            else:  # there is no such job
                del self._jobs[attempt]
            return
        if record is None:
            if job is not None:  # cancelled before it was started
                job.view = replace(job.view, state=JobState.CANCELED, silent="", reason="The job was cancelled.")
                job.ended = self._clock()
            return
        if record.user != place.account or (job is not None and job.view.user != record.user):
            self._foreign[(attempt, place.account, place.host)] = self._clock()
            return
        view = view_of(facts, place, record, boot=look.boot, endpoints=self._endpoints)
        ended = self._clock() if view.state.final else 0.0
        self._jobs[attempt] = KnownJob(place=place, view=view, record=record, ended=ended)

    def _forget(self) -> None:
        now = self._clock()
        for attempt, job in list(self._jobs.items()):
            if job.ended and now - job.ended > KEEP_SECONDS:
                del self._jobs[attempt]
        self._foreign = {key: at for key, at in self._foreign.items() if now - at < FOREIGN_SECONDS}
