"""Watching a cluster, and the queue of work, on a scripted cluster."""

import asyncio

from batch.contract import JobState
from batch.controller.poll_schedule import Stage
from batch.controller.watcher import ClusterWatch
from batch.controller.workqueue import WorkQueue
from state.config.tables import ClusterConfig
from tests.conftest import run, until
from tests.contracts.fake_launcher import FakeLauncher
from tests.contracts.test_launcher import spec_of


def watching(body, *, tick=0.02):
    async def main():
        launcher, changed = FakeLauncher(), []
        watch = ClusterWatch(ClusterConfig(name="fake", kind="slurm", tick=tick), launcher, changed.append)
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
        watch.follow("alice/x", "x", Stage.DOUBT)
        sight = watch.sight("x")
        assert (sight.view, sight.fresh) == (None, False)
        await polled(launcher)
        assert watch.sight("x").fresh

    watching(body)


def test_a_change_is_reported_once():
    async def body(launcher, watch, changed):
        spec = spec_of()
        await launcher.submit(spec)
        watch.follow("alice/lab", spec.attempt, Stage.STARTING)
        await until(lambda: changed == ["alice/lab"])
        await polled(launcher)
        assert changed == ["alice/lab"]
        launcher.step(spec.attempt, JobState.COMPLETED)
        await until(lambda: changed == ["alice/lab", "alice/lab"])
        assert watch.sight(spec.attempt).view.state is JobState.COMPLETED

    watching(body)


def test_a_cluster_that_does_not_answer_is_down_and_keeps_its_last_view():
    async def body(launcher, watch, changed):
        spec = spec_of()
        await launcher.submit(spec)
        watch.follow("alice/lab", spec.attempt, Stage.STARTING)
        await until(lambda: watch.sight(spec.attempt).view)
        launcher.down = True
        await until(lambda: watch.sight(spec.attempt).down_for > 0)
        sight = watch.sight(spec.attempt)
        assert not sight.fresh
        assert sight.view is not None
        launcher.down = False
        await until(lambda: watch.sight(spec.attempt).fresh)

    watching(body)


def test_the_absence_of_a_missing_job_grows():
    async def body(launcher, watch, changed):
        spec = spec_of()
        await launcher.submit(spec)
        watch.follow("alice/lab", spec.attempt, Stage.STARTING)
        await until(lambda: watch.sight(spec.attempt).view)
        del launcher.jobs[spec.attempt]
        watch.follow("alice/lab", spec.attempt, Stage.DOUBT)
        await until(lambda: watch.sight(spec.attempt).view is None)
        await until(lambda: watch.sight(spec.attempt).absent_for > 0.05)

    watching(body)


def test_polls_are_rare_without_active_servers():
    async def body(launcher, watch, changed):
        await until(lambda: launcher.polls == 1)
        await asyncio.sleep(0.3)  # fifteen ticks
        assert launcher.polls == 1

    watching(body)


def test_reports_share_one_poll_and_a_repeated_request_changes_nothing():
    async def body(launcher, watch, changed):
        specs = [spec_of() for _ in range(3)]
        for number, spec in enumerate(specs):
            await launcher.submit(spec)
            launcher.step(spec.attempt, JobState.ACTIVE)
            watch.follow(f"alice/{number}", spec.attempt, Stage.RUNNING)
        watch.look()
        await until(lambda: len(watch._views) == 3)
        before = launcher.polls
        for number, spec in enumerate(specs):
            launcher.step(spec.attempt, JobState.CANCELED)
            watch.follow(f"alice/{number}", spec.attempt, Stage.CAUSE)
        await until(lambda: launcher.polls == before + 1)
        for number, spec in enumerate(specs):
            assert watch.sight(spec.attempt).view.state is JobState.CANCELED
            watch.follow(f"alice/{number}", spec.attempt, None)
        await asyncio.sleep(0.8)
        assert launcher.polls == before + 1

    watching(body, tick=0.5)


def test_a_request_for_a_missing_job_is_answered_after_each_poll():
    async def body(launcher, watch, changed):
        watch.submitted("x")
        watch.follow("alice/lab", "x", Stage.SUBMITTED)
        await until(lambda: changed[:1] == ["alice/lab"])
        assert watch.sight("x").fresh

    watching(body)


def test_one_poll_without_a_job_is_an_absence_of_no_length():
    async def body(launcher, watch, changed):
        spec = spec_of()
        await launcher.submit(spec)
        watch.follow("alice/lab", spec.attempt, Stage.STARTING)
        await until(lambda: watch.sight(spec.attempt).view)
        del launcher.jobs[spec.attempt]
        watch.follow("alice/lab", spec.attempt, Stage.CAUSE)
        await until(lambda: watch.sight(spec.attempt).view is None)
        watch.follow("alice/lab", spec.attempt, None)
        await asyncio.sleep(0.3)
        assert watch.sight(spec.attempt).absent_for < 0.2

    watching(body)


def test_a_job_without_a_server_is_watched_too():
    async def body(launcher, watch, changed):
        spec = spec_of()
        await launcher.submit(spec)
        launcher.step(spec.attempt, JobState.QUEUED)
        watch.look()
        await polled(launcher, 4)

    watching(body)


def test_a_recovery_of_the_cluster_is_reported_once():
    async def main():
        launcher, back = FakeLauncher(), []
        watch = ClusterWatch(
            ClusterConfig(name="fake", kind="slurm", tick=0.02), launcher, lambda key: None, lambda: back.append(1)
        )
        await launcher.submit(spec_of())
        watch.follow("alice/lab", "x", Stage.DOUBT)
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


def test_a_retry_ends_the_back_off():
    async def main():
        queue = WorkQueue(at_once=1)

        async def fails():
            return False

        for _ in range(8):  # the pause after the last is half a minute
            await queue.work("a/", fails)
            queue.retry()
            assert await asyncio.wait_for(queue.take(), 5) == ["a/"]
        queue.close()

    run(main())


def test_a_report_does_not_shorten_the_back_off():
    async def main():
        launcher = FakeLauncher()
        launcher.down = True
        watch = ClusterWatch(ClusterConfig(name="fake", kind="slurm", tick=600.0), launcher, lambda key: None)
        task = asyncio.create_task(watch.run())
        await until(lambda: launcher.polls == 1)
        watch.follow("alice/lab", "x", Stage.CAUSE)
        watch.look()
        await asyncio.sleep(0.3)
        assert launcher.polls == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(main())


def test_the_work_queue_returns_each_key_once_and_never_twice_at_a_time():
    async def main():
        queue, now, most = WorkQueue(at_once=4), {}, {}

        async def look(key):
            now[key] = now.get(key, 0) + 1
            most[key] = max(most.get(key, 0), now[key])
            queue.put(key)
            await asyncio.sleep(0.001)
            now[key] -= 1
            return True

        for key in ("a", "b", "a"):
            queue.put(key)
        assert await queue.take() == ["a", "b"]
        for _ in range(5):
            queue.put("a")
            (key,) = await queue.take()
            await queue.work(key, lambda: look("a"))
        assert most == {"a": 1}

    run(main())


def test_failed_work_returns_later_and_is_not_hurried():
    async def main():
        queue = WorkQueue(at_once=4)

        async def fails():
            return False

        await queue.work("a", fails)
        queue.put("a")
        queue.put("b")
        assert await queue.take() == ["b"]
        assert await queue.take() == ["a"]
        queue.close()

    run(main())


def test_a_slow_cluster_holds_up_no_other():
    async def main():
        queue, over = WorkQueue(at_once=2), asyncio.Event()

        async def slow():
            await over.wait()
            return True

        async def quick():
            return True

        stuck = [asyncio.create_task(queue.work(key, slow, cluster="slow")) for key in "abcd"]
        await asyncio.sleep(0)
        await asyncio.wait_for(queue.work("e", quick, cluster="quick"), 5)
        over.set()
        await asyncio.gather(*stuck)

    run(main())
