"""The suite of the launchers' contract (batch/contract_suite), run on each of the hub's own launchers."""

import contextlib
import secrets
from collections.abc import Callable

import pytest

from batch.contract import JobSpec, Launcher, LauncherContext, LauncherError
from batch.contract_suite import ContractCluster, LauncherContract
from batch.contract_suite.jobs import job_spec
from batch.contract_suite.launcher import ended
from batch.launchers.local.launcher import LocalLauncher
from batch.launchers.opening import open_launcher
from state.config.tables import ClusterConfig
from state.errors import ConfigError
from tests.batch.launchers.local.making import jobs_of, unix_users, users_maker
from tests.batch.launchers.slurm.making import (
    fake_pyslurm,
    login_pool,
    opener,
    real_pyslurm,
    slurm_config,
    slurm_maker,
    ssh_slurm_maker,
)
from tests.batch.launchers.ssh.making import running_pool, ssh_maker
from tests.conftest import run, until
from tests.contracts import native_ids
from tests.contracts.fake_launcher import FakeLauncher

KINDS = ["local", "local-users", "fake", "ssh", "slurm-cli", "slurm-ssh", "slurm-rest", "slurm-fake_pyslurm"]
if real_pyslurm():  # it is compiled for one version of Slurm
    KINDS.append("slurm-pyslurm")


@pytest.fixture(scope="session")
def ssh_pool():
    yield from running_pool()


@pytest.fixture(scope="session")
def users():
    with unix_users() as folder:
        yield folder


@pytest.fixture(scope="session")
def login_nodes():
    yield from login_pool(("login1",))


def cluster_of(request, short_folder, tmp_path) -> tuple[Callable[[], Launcher], native_ids.GiveAway]:
    kind, _, client = request.param.partition("-")
    if kind == "slurm":
        slurm = request.getfixturevalue("slurm")  # also for its accounts, where pyslurm is a fake
        if client == "ssh":
            pool = request.getfixturevalue("login_nodes")
            return ssh_slurm_maker(slurm, pool), native_ids.on_slurm(slurm)
        fake = client == "fake_pyslurm"
        speaks = fake_pyslurm(tmp_path) if fake else opener(slurm, client)
        give_away = native_ids.on_fake_pyslurm(tmp_path) if fake else native_ids.on_slurm(slurm)
        return slurm_maker(slurm_config(slurm, client.removeprefix("fake_")), speaks), give_away
    if kind == "ssh":
        pool = request.getfixturevalue("ssh_pool")
        return ssh_maker(pool), native_ids.on_ssh(pool)
    if kind == "local" and client:
        request.getfixturevalue("users")
        return users_maker(), native_ids.on_local(jobs_of("alice"))
    if kind == "fake":
        launcher = FakeLauncher()
        return lambda: launcher, native_ids.on_fake(launcher)
    jobs = short_folder / f"contract-{secrets.token_hex(4)}" / "jobs"
    return lambda: LocalLauncher("here", jobs), native_ids.on_local(jobs)


class TestEveryKind(LauncherContract):
    @pytest.fixture(params=KINDS)
    def cluster(self, request, short_folder, tmp_path):
        return ContractCluster(*cluster_of(request, short_folder, tmp_path))


def spec_of(**more) -> JobSpec:
    """Return the specification of a job that does not report."""
    return job_spec("", **{"hub_urls": (), **more})


@contextlib.asynccontextmanager
async def job(launcher, spec):
    """A submitted job, which is ended at the end."""
    ref = await launcher.submit(spec)
    try:
        yield ref
    finally:
        await launcher.cancel(None, spec.attempt)
        await until(lambda: ended(launcher, spec))


def test_errors_say_whether_to_try_again():
    fake = FakeLauncher()
    fake.down = True
    with pytest.raises(LauncherError) as caught:
        run(fake.poll())
    assert caught.value.transient


def test_a_launcher_is_opened_by_its_kind_and_an_unknown_kind_is_a_configuration_error(tmp_path):
    context = LauncherContext(data_dir=tmp_path, seal_key=lambda: bytes(32))
    assert open_launcher(ClusterConfig(name="here", kind="local"), context)
    with pytest.raises(ConfigError, match="no kind of cluster named 'nowhere'"):
        open_launcher(ClusterConfig(name="x", kind="nowhere"), context)


def test_the_repr_of_a_spec_contains_no_secret():
    spec = spec_of(report_token="s3cret", environment={"JUPYTER_TOKEN": "s3cret"})
    assert "s3cret" not in repr(spec)
    assert "s3cret" not in str(spec)
