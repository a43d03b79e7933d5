"""What every launcher promises (`batch.contract.Launcher`), as tests of one cluster that the package provides."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from msgspec.structs import replace

from batch.contract import Change, JobSpec, JobState, Launcher, Updated
from batch.contract_suite.jobs import ReportListener, job_spec, processes_by_attempt
from state.offer.catalog import Catalog
from state.records.models import JobRef

WAIT_SECONDS = 60.0

Result = TypeVar("Result")
Alive = Callable[[], bool]
GiveAway = Callable[[JobRef, str], "contextlib.AbstractContextManager[Alive]"]


@dataclass
class ContractCluster:
    """One empty cluster.

    `make` opens a launcher of it, each like that of another process. `give_away(ref, attempt)` makes the job's native
    id that of something else, and yields a function that says whether its new owner is still alive; None: the cluster
    never reuses native ids, and the test of it is skipped. `spec`: fields of a job that differ on this cluster, such
    as `directory`. `local`: jobs are processes of this machine, which has none left after their end.
    """

    make: Callable[[], Launcher]
    give_away: GiveAway | None = None
    spec: dict[str, Any] = field(default_factory=dict)
    local: bool = True


@dataclass
class Opened:
    """The launchers of one test, the spec of its jobs, and a loop to run them in."""

    cluster: ContractCluster
    hub_url: str
    launchers: list[Launcher] = field(default_factory=list)

    def launcher(self) -> Launcher:
        """Open another launcher of the cluster."""
        self.launchers.append(self.cluster.make())
        return self.launchers[-1]

    def spec(self) -> JobSpec:
        """Return a new job."""
        return job_spec(self.hub_url, **self.cluster.spec)

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a test's body, and close the launchers that it has opened."""

        async def body() -> Result:
            try:
                return await coroutine
            finally:
                for launcher in self.launchers:
                    await launcher.close()

        return asyncio.run(body())


async def until(condition: Callable[[], Awaitable[Result]], seconds: float = WAIT_SECONDS) -> Result:
    """Wait until the condition is true and return its value."""
    end = time.monotonic() + seconds
    while True:
        value = await condition()
        if value:
            return value
        assert time.monotonic() < end, f"not true within {seconds} s: {condition}"
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def submitted(launcher: Launcher, spec: JobSpec) -> AsyncIterator[JobRef]:
    """Submit a job, and end it at the end."""
    ref = await launcher.submit(spec)
    try:
        yield ref
    finally:
        await launcher.cancel(None, spec.attempt)
        await until(lambda: ended(launcher, spec))


async def ended(launcher: Launcher, spec: JobSpec) -> bool:
    """Return whether the cluster shows that the job has ended."""
    view = (await launcher.poll()).get(spec.attempt)
    return view is None or view.state.final


class LauncherContract:
    """Subclass it with a fixture `cluster` that returns a ContractCluster."""

    @pytest.fixture
    def cluster(self) -> ContractCluster:
        """Return an empty cluster. Override this."""
        raise NotImplementedError

    @pytest.fixture
    def report_listener(self) -> Iterator[ReportListener]:
        """Receive the jobs' reports, so that they need not wait with their last one."""
        listener = ReportListener()
        yield listener
        listener.close()

    @pytest.fixture
    def opened(self, cluster: ContractCluster, report_listener: ReportListener) -> Opened:
        """Return what a test opens launchers with."""
        return Opened(cluster, report_listener.url)

    def test_a_submitted_job_is_in_the_next_poll_with_its_record(self, opened: Opened) -> None:
        async def body() -> None:
            launcher, spec = opened.launcher(), opened.spec()
            async with submitted(launcher, spec) as ref:
                view = (await launcher.poll())[spec.attempt]
                assert (view.user, view.server, view.attempt) == ("alice", "lab", spec.attempt)
                assert view.native_id == ref.native_id != ""
                assert not view.state.final
                assert view.record == spec.record

        opened.run(body())

    def test_a_second_submit_of_an_attempt_is_the_same_job(self, opened: Opened) -> None:
        async def body() -> None:
            launcher, spec = opened.launcher(), opened.spec()
            async with submitted(launcher, spec) as ref:
                assert await launcher.submit(spec) == ref
                assert await opened.launcher().submit(spec) == ref
                assert len(await launcher.poll()) == 1

        opened.run(body())

    def test_two_processes_that_submit_at_once_get_one_job(self, opened: Opened) -> None:
        async def body() -> None:
            launchers, spec = [opened.launcher() for _ in range(6)], opened.spec()
            async with submitted(launchers[0], spec):
                refs = await asyncio.gather(*(launcher.submit(spec) for launcher in launchers))
                assert len(set(map(repr, refs))) == 1
                assert len(await launchers[0].poll()) == 1

        opened.run(body())

    def test_another_process_sees_the_same_jobs_in_one_call(self, opened: Opened) -> None:
        async def body() -> None:
            launcher, specs = opened.launcher(), [opened.spec() for _ in range(3)]
            async with contextlib.AsyncExitStack() as stack:
                for spec in specs:
                    await stack.enter_async_context(submitted(launcher, spec))
                assert set(await opened.launcher().poll()) == {spec.attempt for spec in specs}

        opened.run(body())

    def test_a_cancel_ends_the_job_for_good_and_may_be_repeated(self, opened: Opened) -> None:
        async def body() -> None:
            launcher, spec = opened.launcher(), opened.spec()
            ref = await launcher.submit(spec)
            await launcher.cancel(ref, spec.attempt)
            await launcher.cancel(ref, spec.attempt)

            async def final() -> JobState | bool:
                view = (await launcher.poll())[spec.attempt]
                return view.state.final and view.state

            assert await until(final) is JobState.CANCELED
            await launcher.cancel(ref, spec.attempt)
            await launcher.submit(spec)
            assert (await launcher.poll())[spec.attempt].state is JobState.CANCELED  # no second job

        opened.run(body())

    def test_a_cancel_of_what_is_not_there_is_no_error(self, opened: Opened) -> None:
        async def body() -> None:
            launcher = opened.launcher()
            await launcher.cancel(JobRef(cluster="here", native_id="1"), secrets.token_hex(16))
            assert dict(await launcher.poll()) == {}

        opened.run(body())

    def test_a_change_of_what_does_not_wait_changes_nothing(self, opened: Opened) -> None:
        async def body() -> None:
            launcher, spec = opened.launcher(), opened.spec()

            def change(attempt: str) -> Change:
                return Change(
                    attempt=attempt,
                    user=spec.user,
                    before=spec.resources,
                    after=replace(spec.resources, walltime=60),
                    record=spec.record,
                )

            assert await launcher.update(change(secrets.token_hex(16))) is Updated.NOT_WAITING
            await launcher.submit(spec)

            await launcher.cancel(None, spec.attempt)

            async def final() -> bool:
                return (await launcher.poll())[spec.attempt].state.final

            await until(final)
            assert await launcher.update(change(spec.attempt)) is Updated.NOT_WAITING

        opened.run(body())

    def test_a_job_is_found_by_its_attempt_alone(self, opened: Opened) -> None:
        async def body() -> None:
            launcher, spec = opened.launcher(), opened.spec()
            await launcher.submit(spec)
            await opened.launcher().cancel(None, spec.attempt)

            async def final() -> bool:
                return (await launcher.poll())[spec.attempt].state.final

            await until(final)

        opened.run(body())

    def test_an_id_that_belongs_to_something_else_by_now_is_not_acted_on(
        self, opened: Opened, cluster: ContractCluster
    ) -> None:
        """After a scheduler lost its state, or a process id was reused, the new owner of the id lives."""
        give_away = cluster.give_away
        if give_away is None:
            pytest.skip("this cluster never gives a native id to anything else")

        async def body() -> None:
            launcher, spec = opened.launcher(), opened.spec()
            ref = await launcher.submit(spec)
            with give_away(ref, spec.attempt) as alive:
                for each in (launcher, opened.launcher()):
                    await each.cancel(ref, spec.attempt)
                    assert alive()
                    await each.poll()
                    await each.cancel(ref, spec.attempt)
                    assert alive()

        opened.run(body())

    def test_the_catalog_names_its_kind_and_its_time(self, opened: Opened) -> None:
        async def body() -> Catalog:
            return (await opened.launcher().catalog()).catalog

        catalog = opened.run(body())
        assert catalog.kind
        assert catalog.time > 0

    def test_an_ended_job_leaves_no_process(self, opened: Opened, cluster: ContractCluster) -> None:
        if not cluster.local:
            pytest.skip("its jobs run on other machines")

        async def body() -> str:
            launcher, spec = opened.launcher(), opened.spec()
            async with submitted(launcher, spec):
                pass
            return spec.attempt

        assert not processes_by_attempt().get(opened.run(body()))
