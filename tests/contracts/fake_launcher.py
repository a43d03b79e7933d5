"""A scripted cluster in memory, whose queue moves only when told to. It follows the launchers' contract."""

import itertools
import time
from collections.abc import Collection, Mapping
from typing import Any

from msgspec.structs import replace

from batch.contract import Change, JobSpec, JobState, JobView, LauncherError, Offer, Report, Updated
from state.offer.catalog import Catalog
from state.records.models import Endpoint, JobRef, Server


class FakeLauncher:
    """`down`: methods raise.

    `lose_answers`: a submit is done, but its result is lost. `step` changes the state of a job.

    `lingers`: a cancelled job is shown unchanged until `step`.
    """

    def __init__(self, name: str = "fake", *, running: bool = True) -> None:
        self.name = name
        self.down = False
        self.lose_answers = False
        self.lingers = False
        self.refuse: LauncherError | None = None
        self.running = running
        self.jobs: dict[str, JobView] = {}
        self.submits: list[str] = []
        self.cancels: list[str] = []
        self.changes: list[Change] = []
        self.polls = 0
        self._numbers = itertools.count(1)

    async def submit(self, spec: JobSpec) -> JobRef:
        self._answer()
        self.submits.append(spec.attempt)
        if self.refuse is not None:
            raise self.refuse
        if spec.attempt not in self.jobs:
            self.jobs[spec.attempt] = JobView(
                attempt=spec.attempt,
                user=spec.user,
                server=spec.server,
                native_id=str(next(self._numbers)),
                state=JobState.ACTIVE if self.running else JobState.QUEUED,
                record=spec.record,
                started=time.time() if self.running else None,
            )
        if self.lose_answers:
            raise LauncherError("The answer was lost.", transient=True)
        return JobRef(cluster=self.name, native_id=self.jobs[spec.attempt].native_id)

    async def place(self, spec: JobSpec) -> JobRef | None:
        return None

    async def poll(self, known: Collection[Server] = ()) -> Mapping[str, JobView]:
        self.polls += 1
        self._answer()
        return dict(self.jobs)

    async def check(self):
        return ()

    def troubles(self):
        return ()

    async def cancel(self, ref: JobRef | None, attempt: str) -> None:
        self._answer()
        self.cancels.append(attempt)
        view = self.jobs.get(attempt)
        if view is not None and not view.state.final and not self.lingers:
            self.jobs[attempt] = replace(view, state=JobState.CANCELED)

    async def update(self, change: Change) -> Updated:
        self._answer()
        self.changes.append(change)
        if self.refuse is not None:
            raise self.refuse
        view = self.jobs.get(change.attempt)
        if view is None or view.state is not JobState.QUEUED:
            return Updated.NOT_WAITING
        if change.after.nodes != change.before.nodes:
            return Updated.IMPOSSIBLE
        self.jobs[change.attempt] = replace(view, record=change.record)
        return Updated.DONE

    async def catalog(self) -> Offer:
        self._answer()
        return Offer(catalog=Catalog(cluster="here", kind="fake", time=1.0), grants={})

    async def close(self) -> None:
        pass

    def step(self, attempt: str, state: JobState, **more: Any) -> None:
        self.jobs[attempt] = replace(self.jobs[attempt], state=state, **more)

    def report_ready(self, attempt: str, path: str = "/run/app.sock") -> None:
        endpoint = Endpoint(kind="unix", path=path)
        self.step(attempt, JobState.ACTIVE, report=Report(kind="ready", attempt=attempt, endpoint=endpoint))

    def _answer(self) -> None:
        if self.down:
            raise LauncherError("The scheduler does not answer.", transient=True)
