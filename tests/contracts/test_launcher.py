"""What every launcher promises (batch/contract.py), run on each of them. A third party's runs this too."""

import asyncio
import contextlib
import os
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

import pytest

from batch.contract import JobSpec, JobState, Launcher, LauncherContext, LauncherError
from batch.launchers.local.launcher import LocalLauncher
from batch.launchers.opening import open_launcher
from state.config.tables import ClusterConfig
from state.errors import ConfigError
from state.records.models import JobRef
from tests import conftest
from tests.batch.apps import Hub, app
from tests.batch.launchers.slurm.making import fake_pyslurm, opener, real_pyslurm, slurm_config, slurm_maker
from tests.batch.launchers.ssh.making import running_pool, ssh_maker
from tests.batch.rig import by_attempt, fresh
from tests.conftest import until
from tests.contracts import native_ids
from tests.contracts.fake_launcher import FakeLauncher

T = TypeVar("T")
KINDS = ["local", "fake", "ssh", "slurm-cli", "slurm-rest", "slurm-fake_pyslurm"]
if real_pyslurm():  # it is compiled for one version of Slurm
    KINDS.append("slurm-pyslurm")


class Cluster(NamedTuple):
    """One cluster. `make` opens a launcher, each with a view of its own, as another process would have.

    `give_away`: makes the native id of a job that of something else.
    """

    make: Callable[[], Launcher]
    give_away: native_ids.GiveAway


@pytest.fixture(scope="session")
def ssh_pool():
    yield from running_pool()


@pytest.fixture(params=KINDS)
def cluster(request, short_folder, tmp_path) -> Cluster:
    """A cluster of each kind."""
    made = cluster_of(request, short_folder, tmp_path)
    return made._replace(make=kept(made.make))


def cluster_of(request, short_folder, tmp_path) -> Cluster:
    kind, _, client = request.param.partition("-")
    if kind == "slurm":
        slurm = request.getfixturevalue("slurm")  # also for its accounts, where pyslurm is a fake
        fake = client == "fake_pyslurm"
        speaks = fake_pyslurm(tmp_path) if fake else opener(slurm, client)
        give_away = native_ids.on_fake_pyslurm(tmp_path) if fake else native_ids.on_slurm(slurm)
        return Cluster(slurm_maker(slurm_config(slurm, client.removeprefix("fake_")), speaks), give_away)
    if kind == "ssh":
        pool = request.getfixturevalue("ssh_pool")
        return Cluster(ssh_maker(pool), native_ids.on_ssh(pool))
    if kind == "fake":
        launcher = FakeLauncher()
        return Cluster(lambda: launcher, native_ids.on_fake(launcher))
    jobs = short_folder / f"contract-{secrets.token_hex(4)}" / "jobs"
    return Cluster(lambda: LocalLauncher("here", jobs), native_ids.on_local(jobs))


@pytest.fixture
def open_one(cluster):
    """Makes launchers of one cluster."""
    return cluster.make


OPENED: list[Launcher] = []


def kept(make: Callable[[], Launcher]) -> Callable[[], Launcher]:
    """The same, and `run` closes what it has made."""

    def open_one() -> Launcher:
        launcher = make()
        OPENED.append(launcher)
        return launcher

    return open_one


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a test's body in a loop of its own, and close the launchers that it has opened."""

    async def whole() -> T:
        try:
            return await coroutine
        finally:
            for launcher in OPENED:
                await launcher.close()
            OPENED.clear()

    return conftest.run(whole())


@pytest.fixture(autouse=True, scope="module")
def hub():
    """Hears the jobs' last words, so that they need not wait with them."""
    listener = Hub()
    HUB_URLS.append(listener.url)
    yield
    HUB_URLS.clear()
    listener.close()


HUB_URLS: list[str] = []


def spec_of(**more) -> JobSpec:
    server = fresh("alice", "lab")
    values = {
        "attempt": server.attempt,
        "user": "alice",
        "server": "lab",
        "command": ("/usr/bin/python3", *app()[1:]),
        "environment": {"PATH": os.environ["PATH"]},
        "directory": "/",
        "base_path": "/user/alice/lab/",
        "hub_urls": tuple(HUB_URLS),
        "report_token": secrets.token_hex(8),
        "secrets": (),
        "start_window": 600.0,
        "record": server,
        "grace": 2.0,
    }
    return JobSpec(**{**values, **more})


@contextlib.asynccontextmanager
async def job(launcher, spec):
    """A submitted job, ended at the end."""
    ref = await launcher.submit(spec)
    try:
        yield ref
    finally:
        await launcher.cancel(None, spec.attempt)

        async def over():
            view = (await launcher.poll()).get(spec.attempt)
            return view is None or view.state.final

        await until(over)


def test_a_submitted_job_is_in_the_next_poll_with_its_record(open_one):
    async def body():
        launcher, spec = open_one(), spec_of()
        async with job(launcher, spec) as ref:
            view = (await launcher.poll())[spec.attempt]
            assert (view.user, view.server, view.attempt) == ("alice", "lab", spec.attempt)
            assert view.native_id == ref.native_id != ""
            assert not view.state.final
            assert view.record == spec.record
        await launcher.close()

    run(body())


def test_a_second_submit_of_an_attempt_is_the_same_job(open_one):
    async def body():
        launcher, spec = open_one(), spec_of()
        async with job(launcher, spec) as ref:
            assert await launcher.submit(spec) == ref
            assert await open_one().submit(spec) == ref
            assert len(await launcher.poll()) == 1

    run(body())


def test_two_processes_that_submit_at_once_get_one_job(open_one):
    async def body():
        launchers, spec = [open_one() for _ in range(6)], spec_of()
        async with job(launchers[0], spec):
            refs = await asyncio.gather(*(launcher.submit(spec) for launcher in launchers))
            assert len(set(map(repr, refs))) == 1
            assert len(await launchers[0].poll()) == 1

    run(body())


def test_another_process_sees_the_same_jobs_in_one_call(open_one):
    async def body():
        launcher, specs = open_one(), [spec_of() for _ in range(3)]
        async with contextlib.AsyncExitStack() as stack:
            for spec in specs:
                await stack.enter_async_context(job(launcher, spec))
            assert set(await open_one().poll()) == {spec.attempt for spec in specs}

    run(body())


def test_a_cancel_ends_the_job_for_good_and_may_be_repeated(open_one):
    async def body():
        launcher, spec = open_one(), spec_of()
        ref = await launcher.submit(spec)
        await launcher.cancel(ref, spec.attempt)
        await launcher.cancel(ref, spec.attempt)

        async def ended():
            view = (await launcher.poll())[spec.attempt]
            return view.state.final and view.state

        assert await until(ended) is JobState.CANCELED
        await launcher.cancel(ref, spec.attempt)
        await launcher.submit(spec)
        assert (await launcher.poll())[spec.attempt].state is JobState.CANCELED  # no second job

    run(body())


def test_a_cancel_of_what_is_not_there_is_no_error(open_one):
    async def body():
        launcher = open_one()
        await launcher.cancel(JobRef(cluster="here", native_id="1"), secrets.token_hex(16))
        assert dict(await launcher.poll()) == {}

    run(body())


def test_a_job_is_found_by_its_attempt_alone(open_one):
    async def body():
        launcher, spec = open_one(), spec_of()
        await launcher.submit(spec)
        await open_one().cancel(None, spec.attempt)

        async def ended():
            return (await launcher.poll())[spec.attempt].state.final

        await until(ended)

    run(body())


def test_an_id_that_belongs_to_something_else_by_now_is_not_acted_on(cluster):
    """After a scheduler lost its state, or a process id was reused: the new owner of the id lives."""

    async def body():
        launcher, spec = cluster.make(), spec_of()
        ref = await launcher.submit(spec)
        with cluster.give_away(ref, spec.attempt) as alive:
            for each in (launcher, cluster.make()):
                await each.cancel(ref, spec.attempt)
                assert alive()
                await each.poll()
                await each.cancel(ref, spec.attempt)
                assert alive()
                await each.close()

    run(body())


def test_the_catalog_names_its_kind_and_its_time(open_one):
    async def body():
        return (await open_one().catalog()).catalog

    catalog = run(body())
    assert catalog.kind
    assert catalog.time > 0


def test_errors_say_whether_to_try_again():
    fake = FakeLauncher()
    fake.down = True
    with pytest.raises(LauncherError) as caught:
        run(fake.poll())
    assert caught.value.transient


def test_a_launcher_is_opened_by_its_kind_and_an_unknown_one_is_a_fault_of_the_configuration(tmp_path):
    context = LauncherContext(data_dir=tmp_path, seal_key=lambda: bytes(32))
    assert open_launcher(ClusterConfig(name="here", kind="local"), context)
    with pytest.raises(ConfigError, match="no kind of cluster named 'nowhere'"):
        open_launcher(ClusterConfig(name="x", kind="nowhere"), context)


def test_no_secret_is_in_the_text_of_a_spec():
    spec = spec_of(report_token="s3cret", environment={"JUPYTER_TOKEN": "s3cret"})
    assert "s3cret" not in repr(spec)
    assert "s3cret" not in str(spec)


def test_an_ended_job_leaves_no_process(open_one):
    async def body():
        launcher, spec = open_one(), spec_of()
        async with job(launcher, spec):
            pass
        assert not by_attempt().get(spec.attempt)

    run(body())
