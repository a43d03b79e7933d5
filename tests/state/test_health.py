"""What one process knows about the hub's health: problems in the store, and whether a controller is leading."""

from types import SimpleNamespace

import pytest

from gateway.serve.problems import ProblemReporter
from state.mirror.health import LEADERLESS_SECONDS, HealthWatch
from state.records.health import Problem
from state.store.all import Store
from state.store.health import KEPT_SECONDS, LEASE, Health
from tests.conftest import run


class Clock:
    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def on_store(store_url):
    def on(body):
        async def main():
            store = await Store.open(store_url)
            clock = Clock()
            try:
                await body(store, Health(store.redis, clock=clock), clock)
            finally:
                await store.close()

        run(main())

    return on


def problem(part="worker 1", host="a", **more):
    return Problem(**{"code": "restarting", "part": part, "host": host, "message": "M.", "since": 1.0, **more})


def test_a_missing_leader_is_a_problem_after_one_minute(on_store):
    async def body(store, health, clock):
        watch = HealthWatch(health, clock=clock)
        await watch.look()
        clock.now += LEADERLESS_SECONDS - 1
        await watch.look()
        assert watch.problems == ()
        assert not watch.starts_wait
        clock.now += 1
        await watch.look()
        (found,) = watch.problems
        assert (found.code, found.since) == ("no-controller", clock.now - LEADERLESS_SECONDS)
        assert "No controller is leading" in found.message
        assert watch.starts_wait
        await store.leases.take(LEASE, "x", seconds=60)
        await watch.look()
        assert watch.problems == ()
        assert not watch.starts_wait

    on_store(body)


def test_a_problem_expires_one_minute_after_its_last_report(on_store):
    async def body(_, health, clock):
        await health.report(problem())
        await health.report(problem(host="b", reporter="2"))
        assert [(one.host, one.seen) for one in (await health.look())[0]] == [("a", clock.now), ("b", clock.now)]
        await health.solved("2", "worker 1")
        clock.now += KEPT_SECONDS + 1
        assert (await health.look())[0] == []

    on_store(body)


def test_two_hubs_with_one_host_name_report_and_solve_their_own_problems(on_store, caplog):
    class Child:
        def __init__(self, reason):
            self.name = "worker 1"
            self.failure = SimpleNamespace(reason=reason, since=1.0)

    async def body(_, health, clock):
        watch = HealthWatch(health, clock=clock, loud=True)
        children = [Child("It lacks memory."), Child("Its port is taken.")]
        reporters = [ProblemReporter(health, lambda child=child: [child], host="pod") for child in children]
        for reporter in reporters:
            await reporter.look()
        await watch.look()
        prefix = "The worker 1 on pod does not keep running."
        assert {one.message for one in watch.problems} == {f"{prefix} {child.failure.reason}" for child in children}
        children[0].failure = None
        await reporters[0].look()
        await watch.look()
        assert [one.message for one in watch.problems] == [f"{prefix} Its port is taken."]

    caplog.set_level("INFO")
    on_store(body)
    lines = [record.getMessage() for record in caplog.records if record.name == "towpath.health"]
    assert [line.partition(" code")[0] for line in lines] == ["Hub problem", "Hub problem", "Hub problem solved"]


def test_an_unreadable_problem_is_dropped(on_store):
    async def body(store, health, _):
        await store.redis.call("HSET", "towpath:{health}:problems", "a/x", "rubbish")
        await health.report(problem())
        assert [one.part for one in (await health.look())[0]] == ["worker 1"]

    on_store(body)


def test_a_failing_controller_delays_starts_unless_another_one_leads(on_store):
    async def body(store, health, clock):
        watch = HealthWatch(health, clock=clock)
        await health.report(problem(part="controller"))
        await watch.look()
        assert watch.starts_wait
        await store.leases.take(LEASE, "another", seconds=60)
        await watch.look()
        assert [one.part for one in watch.problems] == ["controller"]
        assert not watch.starts_wait

    on_store(body)


def test_changes_are_logged_once(on_store, caplog):
    async def body(_, health, clock):
        watch = HealthWatch(health, clock=clock, loud=True)
        await health.report(problem())
        for _ in range(3):
            await watch.look()
        await health.solved("", "worker 1")
        await watch.look()
        await watch.look()

    caplog.set_level("INFO")
    on_store(body)
    assert [record.getMessage() for record in caplog.records if record.name == "towpath.health"] == [
        "Hub problem code=restarting part=worker 1 host=a reason=M.",
        "Hub problem solved code=restarting part=worker 1 host=a",
    ]
