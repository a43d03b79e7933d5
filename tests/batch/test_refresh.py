"""The refresh of catalogs: what reaches Redis when clusters answer, fail, or break their contract."""

import asyncio
import contextlib

import pytest
from msgspec.structs import replace

from batch.contract import LauncherError, Offer
from batch.controller import catalog_refresh as module
from batch.controller.catalog_refresh import FIRST_BACK_OFF, LONGEST_BACK_OFF, pause, refresh
from batch.launchers.slurm.kind import SlurmConfig
from state.config.tables import ClusterConfig
from state.errors import FencedError, StateUnavailableError
from state.offer.catalog import Catalog, Grants
from tests.conftest import run

CLUSTER = ClusterConfig(name="hpc", kind="slurm", options=SlurmConfig(catalog_seconds=0.01))
OFFER = Offer(catalog=Catalog(cluster="whatever", kind="slurm", time=1.0), grants={"ann": Grants(default_account="a")})


class Script:
    """A launcher whose catalog is the next of a list of results, and a store that keeps what it gets."""

    def __init__(self, *answers, refuse=()) -> None:
        self.answers = list(answers)
        self.refuse = list(refuse)
        self.kept = []
        self.wishes = 0
        self.done = asyncio.Event()

    async def catalog(self):
        answer = self.answers.pop(0)
        if not self.answers:
            self.done.set()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def take_request(self, cluster):
        assert cluster == "hpc"
        if isinstance(self.wishes, BaseException):
            raise self.wishes
        wished, self.wishes = self.wishes > 0, 0
        return wished

    async def put(self, catalog, grants, *, fence):
        if self.refuse and (error := self.refuse.pop(0)) is not None:
            raise error
        self.kept.append((catalog, dict(grants), fence))


async def play(script: Script) -> None:
    task = asyncio.ensure_future(refresh(script, CLUSTER, script, fence=7))
    _ = await asyncio.wait({task, asyncio.ensure_future(script.done.wait())}, return_when=asyncio.FIRST_COMPLETED)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(module, "FIRST_BACK_OFF", 0.01)


def test_a_catalog_is_saved_under_its_clusters_name_with_the_leaders_token():
    async def main():
        script = Script(OFFER, OFFER)
        await play(script)
        assert script.kept[0] == (replace(OFFER.catalog, cluster="hpc"), OFFER.grants, 7)

    run(main())


@pytest.mark.parametrize("error", [LauncherError("Slurm does not answer.", transient=True), ValueError("a bug")])
def test_a_failing_cluster_keeps_its_last_catalog_and_is_retried(error):
    async def main():
        script = Script(OFFER, error, error, replace(OFFER, grants={}), OFFER)
        await play(script)
        assert [grants for _, grants, _ in script.kept[:2]] == [OFFER.grants, {}]

    run(main())


def test_a_requested_catalog_is_gathered_once_for_all_requests(monkeypatch):
    monkeypatch.setattr(module, "UNASKED", 10**6)
    monkeypatch.setattr(module, "WISH_SECONDS", 0.01)

    async def main():
        script = Script(OFFER, OFFER, OFFER)
        task = asyncio.ensure_future(refresh(script, CLUSTER, script, fence=7))
        await asyncio.sleep(0.1)
        assert len(script.kept) == 1
        script.wishes = 3
        await asyncio.sleep(0.1)
        assert len(script.kept) == 2
        script.wishes = StateUnavailableError("away")
        await asyncio.sleep(0.05)
        script.wishes = 1
        await asyncio.wait_for(script.done.wait(), 5)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert len(script.kept) == 3

    run(main())


def test_a_request_does_not_shorten_the_pause_after_a_failure(monkeypatch):
    monkeypatch.setattr(module, "FIRST_BACK_OFF", 600.0)
    monkeypatch.setattr(module, "WISH_SECONDS", 0.01)

    async def main():
        script = Script(LauncherError("away", transient=True), OFFER)
        script.wishes = 1
        task = asyncio.ensure_future(refresh(script, CLUSTER, script, fence=7))
        await asyncio.sleep(0.1)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert script.kept == []

    run(main())


def test_an_unavailable_store_is_retried():
    async def main():
        script = Script(OFFER, OFFER, OFFER, refuse=[StateUnavailableError("away")])
        await play(script)
        assert script.kept

    run(main())


def test_a_former_leader_ends_its_term():
    async def main():
        script = Script(OFFER, OFFER, refuse=[FencedError("old")])
        with pytest.raises(FencedError):
            await refresh(script, CLUSTER, script, fence=1)

    run(main())


def test_retries_become_less_frequent():
    assert pause(0, 60.0) == 60.0
    assert pause(1, 60.0) == module.FIRST_BACK_OFF
    assert pause(30, 60.0) == LONGEST_BACK_OFF
    assert pause(30, 900.0) == 900.0
    assert FIRST_BACK_OFF == 5.0


def test_a_recovered_cluster_is_refreshed_immediately(monkeypatch):
    monkeypatch.setattr(module, "FIRST_BACK_OFF", 600.0)

    async def main():
        away = LauncherError("away", transient=True)
        script, back = Script(away, away, OFFER), asyncio.Event()
        task = asyncio.ensure_future(refresh(script, CLUSTER, script, fence=7, again=back))
        await asyncio.sleep(0.05)
        assert script.kept == []
        monkeypatch.setattr(module, "FIRST_BACK_OFF", 0.05)  # if it fails once more, that is the first failure again
        back.set()
        await asyncio.wait_for(script.done.wait(), 5)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert len(script.kept) == 1

    run(main())
