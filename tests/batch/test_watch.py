"""Watching a cluster and the desk of work, on the scripted cluster."""

import asyncio

import pytest
from msgspec.structs import replace

from batch.contract import JobState, JobView
from batch.desk import Desk
from batch.leader import ahead
from batch.watch import ClusterWatch
from state.config import ClusterConfig
from state.records import Status
from tests.batch.rig import fresh
from tests.conftest import run, until
from tests.contracts.fake_launcher import FakeLauncher
from tests.contracts.test_launcher import spec_of


def watching(body):
    async def main():
        launcher, changed = FakeLauncher(), []
        watch = ClusterWatch(ClusterConfig(name="fake", kind="fake", tick=0.02), launcher, changed.append)
        task = asyncio.create_task(watch.run())
        try:
            await body(launcher, watch, changed)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    run(main())


async def polled(launcher, times=2):
    before = launcher.polls
    await until(lambda: launcher.polls >= before + times)


def test_a_poll_from_before_the_submit_says_nothing_about_the_job():
    async def body(launcher, watch, changed):
        await polled(launcher, 0)
        watch.submitted("x")
        sight = watch.sight("x")
        assert (sight.view, sight.fresh) == (None, False)
        await polled(launcher)
        assert watch.sight("x").fresh

    watching(body)


def test_what_changed_is_told_once():
    async def body(launcher, watch, changed):
        spec = spec_of()
        await launcher.submit(spec)
        watch.hurry()
        await until(lambda: changed == ["alice/lab"])
        await polled(launcher)
        assert changed == ["alice/lab"]
        launcher.step(spec.attempt, JobState.COMPLETED)
        await until(lambda: changed == ["alice/lab", "alice/lab"])
        assert watch.sight(spec.attempt).view.state is JobState.COMPLETED

    watching(body)


def test_a_cluster_that_does_not_answer_is_down_and_shows_what_it_last_showed():
    async def body(launcher, watch, changed):
        spec = spec_of()
        await launcher.submit(spec)
        watch.hurry()
        await until(lambda: watch.sight(spec.attempt).view)
        launcher.down = True
        await until(lambda: watch.sight(spec.attempt).down_for > 0)
        sight = watch.sight(spec.attempt)
        assert not sight.fresh
        assert sight.view is not None
        launcher.down = False
        await until(lambda: watch.sight(spec.attempt).fresh)

    watching(body)


def test_a_job_that_vanishes_is_absent_for_longer_and_longer():
    async def body(launcher, watch, changed):
        spec = spec_of()
        await launcher.submit(spec)
        watch.hurry()
        await until(lambda: watch.sight(spec.attempt).view)
        del launcher.jobs[spec.attempt]
        await until(lambda: watch.sight(spec.attempt).view is None)
        await until(lambda: watch.sight(spec.attempt).absent_for > 0.05)

    watching(body)


def test_nothing_active_is_polled_rarely():
    async def body(launcher, watch, changed):
        await until(lambda: launcher.polls == 1)
        await asyncio.sleep(0.3)  # fifteen ticks
        assert launcher.polls == 1

    watching(body)


@pytest.mark.parametrize(
    ("kind", "state", "seconds"),
    [
        ("slurm", JobState.QUEUED, 5.0),
        ("slurm", JobState.ACTIVE, 20.0),
        ("local", JobState.ACTIVE, 5.0),
        ("slurm", JobState.COMPLETED, 30.0),
    ],
)
def test_a_scheduler_is_asked_less_often_where_jobs_only_run(kind, state, seconds):
    launcher = FakeLauncher()
    watch = ClusterWatch(ClusterConfig(name="fake", kind=kind, tick=1.0), launcher, lambda _: None)

    async def body():
        spec = spec_of()
        await launcher.submit(spec)
        launcher.step(spec.attempt, state)
        await watch._poll(0.0)
        assert watch._pause(0.0) == seconds
        other = spec_of()
        await launcher.submit(other)
        launcher.step(other.attempt, JobState.QUEUED)
        await watch._poll(0.0)
        assert watch._pause(0.0) == 5.0

    run(body())


def test_after_an_end_the_accounting_is_asked_again_soon():
    launcher = FakeLauncher()
    watch = ClusterWatch(ClusterConfig(name="fake", kind="slurm", tick=1.0), launcher, lambda _: None)

    async def body():
        spec = spec_of()
        await launcher.submit(spec)
        launcher.step(spec.attempt, JobState.ACTIVE)
        await watch._poll(0.0)
        launcher.step(spec.attempt, JobState.FAILED)
        await watch._poll(0.0)
        now = asyncio.get_running_loop().time()
        assert watch._pause(now) == 5.0
        assert watch._pause(now + 60.0) == 30.0

    run(body())


def test_a_word_of_a_job_that_the_last_poll_does_not_show_is_a_poll_at_once_but_once():
    async def main():
        launcher, spec = FakeLauncher(), spec_of()
        await launcher.submit(spec)
        watch = ClusterWatch(ClusterConfig(name="fake", kind="fake", tick=600.0), launcher, lambda key: None)
        task = asyncio.create_task(watch.run())
        await until(lambda: launcher.polls == 1)
        watch.heard(spec.attempt, "starting")
        watch.heard(spec.attempt, "starting")
        await until(lambda: launcher.polls == 2)
        watch.heard(spec.attempt, "starting")
        await asyncio.sleep(0.3)
        assert launcher.polls == 2
        watch.heard(spec.attempt, "ready")
        await until(lambda: launcher.polls == 3)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(main())


def test_a_cluster_that_answers_again_is_told_once():
    async def main():
        launcher, back = FakeLauncher(), []
        watch = ClusterWatch(
            ClusterConfig(name="fake", kind="fake", tick=0.02), launcher, lambda key: None, lambda: back.append(1)
        )
        await launcher.submit(spec_of())
        launcher.down = True
        task = asyncio.create_task(watch.run())
        await until(lambda: watch.sight("x").down_for > 0)
        assert back == []
        launcher.down = False
        await polled(launcher, 3)
        assert back == [1]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(main())


def test_what_waits_out_its_back_off_is_looked_at_when_there_is_reason_to():
    async def main():
        desk = Desk(at_once=1)

        async def fails():
            return False

        for _ in range(8):  # the pause after the last is half a minute
            await desk.work("a/", fails)
            desk.retry()
            assert await asyncio.wait_for(desk.take(), 5) == ["a/"]
        desk.close()

    run(main())


def test_a_report_does_not_shorten_the_back_off():
    async def main():
        launcher = FakeLauncher()
        launcher.down = True
        watch = ClusterWatch(ClusterConfig(name="fake", kind="fake", tick=600.0), launcher, lambda key: None)
        task = asyncio.create_task(watch.run())
        await until(lambda: launcher.polls == 1)
        watch.heard("x", "ready")
        await asyncio.sleep(0.3)
        assert launcher.polls == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(main())


def test_the_record_is_ahead_when_the_job_has_told_more_than_the_scheduler_shows():
    view = JobView(attempt="a", user="alice", server="", state=JobState.QUEUED)
    runs = replace(view, state=JobState.ACTIVE)
    over = replace(view, state=JobState.FAILED)
    record = fresh()
    for status, expected in {
        Status.REQUESTED: (False, False, False),
        Status.QUEUED: (False, False, False),
        Status.STARTING: (True, False, False),
        Status.READY: (True, False, False),
        Status.FAILED: (True, True, False),
        Status.STOPPED: (True, True, False),
    }.items():
        assert tuple(ahead(replace(record, status=status), one) for one in (view, runs, over)) == expected


def test_the_desk_gives_each_key_once_and_never_two_at_a_time():
    async def main():
        desk, now, most = Desk(at_once=4), {}, {}

        async def look(key):
            now[key] = now.get(key, 0) + 1
            most[key] = max(most.get(key, 0), now[key])
            desk.put(key)
            await asyncio.sleep(0.001)
            now[key] -= 1
            return True

        for key in ("a", "b", "a"):
            desk.put(key)
        assert await desk.take() == ["a", "b"]
        for _ in range(5):
            desk.put("a")
            (key,) = await desk.take()
            await desk.work(key, lambda: look("a"))
        assert most == {"a": 1}

    run(main())


def test_what_failed_comes_back_later_and_is_not_hurried():
    async def main():
        desk = Desk(at_once=4)

        async def fails():
            return False

        await desk.work("a", fails)
        desk.put("a")
        desk.put("b")
        assert await desk.take() == ["b"]
        assert await desk.take() == ["a"]
        desk.close()

    run(main())
