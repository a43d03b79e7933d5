"""A term of leadership on a real store and a scripted cluster: everything that a scheduler may do."""

import asyncio
import contextlib

import pytest
from msgspec.structs import replace

from batch.contract import JobState, LauncherError
from batch.controller import leader
from batch.controller.controller import lead
from batch.controller.leader import Dependencies
from batch.controller.submits import JobContext
from state.config.tables import ClusterConfig, Config, OptionConfig, ProfileConfig
from state.errors import ConflictError
from state.names import server_path
from state.records.edits import with_edit
from state.records.lifecycle import advance
from state.records.models import Endpoint, Reason, Status, Target
from state.records.readiness import route_of
from state.store.all import Store
from tests.batch.rig import ask, fresh
from tests.conftest import run, until
from tests.contracts.fake_launcher import FakeLauncher

CONFIG = Config(
    cluster=(ClusterConfig(name="local", kind="local", tick=0.05, start_window=60),),
    profile=(
        ProfileConfig(name="stub", cluster="local", command=("serve", "{socket}")),
        ProfileConfig(
            name="sized",
            cluster="local",
            command=("serve", "{socket}"),
            option={kind: OptionConfig(kind=kind) for kind in ("cores", "nodes", "text")},
        ),
    ),
)
PREFIX = server_path("/", "alice", "")
STOPPED = Reason(code="stopped", message="The server was stopped.")


class Stage:
    """A store, a scripted cluster, and controllers that lead or stand by."""

    def __init__(self, url):
        self.url = url
        self.cluster = FakeLauncher("local", running=False)
        self.tasks = []

    async def __aenter__(self):
        self.store = await Store.open(self.url)
        return self

    async def __aexit__(self, *_):
        for task in self.tasks:
            await self.end(task)
        await self.store.close()

    def controller(self, holder="one"):
        dependencies = Dependencies(
            store=self.store,
            config=CONFIG,
            launchers={"local": self.cluster},
            job_context=JobContext({"HOME": "/", "PATH": "/bin"}, as_root=False),
            fault=lambda _: None,
        )
        task = asyncio.create_task(lead(dependencies, holder))
        self.tasks.append(task)
        return task

    async def end(self, task):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def becomes(self, status, user="alice"):
        async def there():
            server = await self.store.servers.get(user, "")
            return server if server and server.status is status else None

        return await until(there, seconds=40)

    async def edit(self, **choices):
        """Change the request, and return the record once the controller has dealt with it."""
        while True:
            server = await self.store.servers.get("alice", "")
            with contextlib.suppress(ConflictError):
                await self.store.servers.save(with_edit(server, choices))
                break

        async def done():
            server = await self.store.servers.get("alice", "")
            return server if server.edited is None else None

        return await until(done, seconds=40)

    async def messages(self):
        return [event.message for event in await self.store.servers.events("alice", "")]

    async def stop(self):
        while True:
            server = await self.store.servers.get("alice", "")
            with contextlib.suppress(ConflictError):
                return await self.store.servers.save(replace(server, target=Target.STOPPED))


@pytest.fixture
def play(store_url):
    def start(body):
        async def main():
            async with Stage(store_url) as stage:
                await body(stage)

        run(main())

    return start


def test_a_server_follows_its_job_through_the_queue(play):
    async def body(stage):
        stage.controller()
        asked = await ask(stage.store, fresh())
        queued = await stage.becomes(Status.QUEUED)
        assert queued.job.native_id == "1"
        await until(lambda: stage.cluster.polls > 5)
        assert (await stage.store.servers.get("alice", "")).status is Status.QUEUED
        stage.cluster.step(asked.attempt, JobState.ACTIVE)
        assert (await stage.becomes(Status.STARTING)).running
        stage.cluster.report_ready(asked.attempt)
        await stage.becomes(Status.READY)
        assert (await until(lambda: stage.store.feed.route(PREFIX))).endpoint.path == "/run/app.sock"
        stage.cluster.step(asked.attempt, JobState.QUEUED, report=None)  # preempted
        await stage.becomes(Status.QUEUED)
        assert await stage.store.feed.route(PREFIX) is None

    play(body)


def test_a_server_that_is_removed_while_its_job_is_still_visible_stays_removed(play):
    async def body(stage):
        stage.cluster.lingers = True
        stage.controller()
        asked = await ask(stage.store, fresh())
        await stage.becomes(Status.QUEUED)
        stage.cluster.report_ready(asked.attempt)
        await stage.becomes(Status.READY)
        await stage.stop()
        await until(lambda: stage.cluster.cancels == [asked.attempt])
        stopping = await stage.becomes(Status.STOPPING)
        # The starter reports the app's end before the scheduler does, and its owner removes the server.
        ended = advance(stopping, Status.STOPPED, now=stopping.requested + 1, reason=STOPPED)
        await stage.store.servers.remove(await stage.store.servers.save(ended))
        polls = stage.cluster.polls
        for _ in range(20):
            await stage.store.servers.wake("alice/")
            await asyncio.sleep(0.02)
        await until(lambda: stage.cluster.polls > polls)
        assert await stage.store.servers.get("alice", "") is None
        stage.cluster.step(asked.attempt, JobState.CANCELED)
        await until(lambda: stage.cluster.polls > polls + 3)
        assert await stage.store.servers.get("alice", "") is None

    play(body)


def test_a_rejected_submit_fails_with_the_schedulers_message(play):
    async def body(stage):
        stage.cluster.refuse = LauncherError(
            "Account x has no hours left.", transient=False, code="account", hint="Ask for more."
        )
        stage.controller()
        await ask(stage.store, fresh())
        failed = await stage.becomes(Status.FAILED)
        assert (failed.reason.code, failed.reason.message) == ("account", "Account x has no hours left.")
        assert failed.reason.hint == "Ask for more."
        assert len(stage.cluster.submits) == 1

    play(body)


def test_a_submit_with_a_temporary_error_is_retried(play):
    async def body(stage):
        stage.cluster.down = True
        stage.controller()
        await ask(stage.store, fresh())
        await until(lambda: stage.cluster.polls >= 1)
        assert (await stage.store.servers.get("alice", "")).status is Status.REQUESTED
        stage.cluster.down = False
        await stage.becomes(Status.QUEUED)

    play(body)


def test_a_submit_with_a_lost_result_is_found_and_not_duplicated(play):
    async def body(stage):
        stage.cluster.lose_answers = True
        stage.controller()
        asked = await ask(stage.store, fresh())
        queued = await stage.becomes(Status.QUEUED)
        assert queued.job.native_id == "1"
        assert list(stage.cluster.jobs) == [asked.attempt]
        kept = stage.cluster.jobs[asked.attempt].record
        assert (queued.report_hash, queued.credential) == (kept.report_hash, kept.credential)

    play(body)


def test_an_unreachable_cluster_cancels_nothing_and_ends_nothing(play):
    async def body(stage):
        stage.controller()
        asked = await ask(stage.store, fresh())
        await stage.becomes(Status.QUEUED)
        stage.cluster.report_ready(asked.attempt)
        await stage.becomes(Status.READY)
        stage.cluster.down = True
        polls = stage.cluster.polls
        await until(lambda: stage.cluster.polls > polls + 3)
        assert (await stage.store.servers.get("alice", "")).status is Status.READY
        assert stage.cluster.cancels == []
        assert await stage.store.feed.route(PREFIX)

    play(body)


def test_a_stop_reaches_a_job_that_waits_in_the_queue(play):
    async def body(stage):
        stage.controller()
        asked = await ask(stage.store, fresh())
        await stage.becomes(Status.QUEUED)
        await stage.stop()
        await stage.becomes(Status.STOPPED)
        assert stage.cluster.jobs[asked.attempt].state is JobState.CANCELED

    play(body)


def test_a_standby_takes_over_when_the_leader_releases_the_lease(play):
    async def body(stage):
        first = stage.controller("one")
        await ask(stage.store, fresh())
        await stage.becomes(Status.QUEUED)
        stage.controller("two")
        await stage.end(first)
        await ask(stage.store, fresh("bob"))
        assert (await stage.becomes(Status.QUEUED, "bob")).fence > 1

    play(body)


def test_a_missing_profile_fails_the_start_with_a_message(play):
    async def body(stage):
        stage.controller()
        await ask(stage.store, fresh(profile="gone"))
        failed = await stage.becomes(Status.FAILED)
        assert "profile 'gone'" in failed.reason.message

    play(body)


@pytest.mark.faults
def test_the_leader_continues_when_its_store_is_available_again(make_store_server):
    async def body():
        server = make_store_server("valkey")
        async with Stage(server.url) as stage:
            stage.controller()
            asked = await ask(stage.store, fresh())
            await stage.becomes(Status.QUEUED)
            server.kill()
            stage.cluster.report_ready(asked.attempt)
            polls = stage.cluster.polls
            await until(lambda: stage.cluster.polls > polls + 2)
            await asyncio.to_thread(server.start)
            await stage.becomes(Status.READY)
            await until(lambda: stage.store.feed.route(PREFIX))
            assert stage.cluster.cancels == []

    run(body())


# --- a changed request -----------------------------------------------------------------------------------------------
def test_a_changed_request_keeps_its_job_where_the_cluster_can_change_it(play):
    async def body(stage):
        stage.controller()
        await ask(stage.store, replace(fresh(profile="sized"), choices={"cores": 1}))
        queued = await stage.becomes(Status.QUEUED)
        server = await stage.edit(cores=4)
        assert (server.attempt, server.job, server.choices) == (queued.attempt, queued.job, {"cores": 4})
        assert stage.cluster.jobs[server.attempt].record.choices == {"cores": 4}
        assert (stage.cluster.changes[-1].before.cores, stage.cluster.changes[-1].after.cores) == (1, 4)
        assert (await stage.messages())[-1] == "The request was changed. The job keeps its place in the queue."

    play(body)


@pytest.mark.parametrize("choices", [{"nodes": 2}, {"text": "more"}])
def test_a_changed_request_that_needs_a_new_job_gets_one_and_the_old_one_ends(play, choices):
    async def body(stage):
        stage.controller()
        await ask(stage.store, fresh(profile="sized"))
        queued = await stage.becomes(Status.QUEUED)
        server = await stage.edit(**choices)
        assert server.attempt != queued.attempt
        assert server.choices == choices
        await until(lambda: stage.cluster.jobs[queued.attempt].state is JobState.CANCELED)
        again = await stage.becomes(Status.QUEUED)
        assert again.attempt == server.attempt
        assert any("new place in the queue" in message for message in await stage.messages())

    play(body)


def test_a_change_that_the_cluster_refuses_leaves_the_request_as_it_was(play):
    async def body(stage):
        stage.controller()
        await ask(stage.store, replace(fresh(profile="sized"), choices={"cores": 1}))
        queued = await stage.becomes(Status.QUEUED)
        stage.cluster.refuse = LauncherError("That is too much.", transient=False, hint="Request fewer resources.")
        server = await stage.edit(cores=4)
        assert (server.attempt, server.choices) == (queued.attempt, {"cores": 1})
        assert (await stage.messages())[-1] == "The request was not changed. That is too much. Request fewer resources."

    play(body)


def test_a_cluster_that_is_away_is_asked_for_the_change_again(play):
    async def body(stage):
        stage.controller()
        await ask(stage.store, replace(fresh(profile="sized"), choices={"cores": 1}))
        await stage.becomes(Status.QUEUED)
        stage.cluster.refuse = LauncherError("It does not answer.", transient=True)
        editing = asyncio.create_task(stage.edit(cores=4))
        await until(lambda: stage.cluster.changes)
        stage.cluster.refuse = None
        assert (await editing).choices == {"cores": 4}

    play(body)


def test_a_job_that_started_meanwhile_is_left_alone(play):
    async def body(stage):
        stage.controller()
        await ask(stage.store, replace(fresh(profile="sized"), choices={"cores": 1}))
        queued = await stage.becomes(Status.QUEUED)
        stage.cluster.step(queued.attempt, JobState.ACTIVE)
        server = await stage.edit(cores=4)
        assert (server.attempt, server.choices) == (queued.attempt, {"cores": 1})
        assert stage.cluster.cancels == []
        assert "The job started before its request could be changed." in await stage.messages()

    play(body)


def test_a_scan_keeps_the_route_of_a_server_that_becomes_ready_meanwhile(play, monkeypatch):
    """A report makes it ready, and publishes its route, between the reads of the records and of the routes."""

    async def body(stage):
        feed, snapshot, drop_route = stage.store.feed, stage.store.feed.snapshot, stage.store.feed.drop_route
        taken, dropped = [], []

        async def become_ready():
            with contextlib.suppress(ConflictError):
                server = await stage.store.servers.get("alice", "")
                ready = replace(
                    server, status=Status.READY, ready=2.0, endpoint=Endpoint(kind="unix", path="/app.sock")
                )
                await feed.set_route(route_of(await stage.store.servers.save(ready), "/"))
                return True

        async def late_snapshot():
            if not taken:
                await until(become_ready)
            taken.append(await snapshot())
            return taken[-1]

        async def noted_drop(prefix, **more):
            dropped.append(prefix)
            return await drop_route(prefix, **more)

        await ask(stage.store, fresh())
        stage.cluster.down = True
        monkeypatch.setattr(feed, "snapshot", late_snapshot)
        monkeypatch.setattr(feed, "drop_route", noted_drop)
        monkeypatch.setattr(leader, "SCAN_SECONDS", 0.05)
        stage.controller()
        await until(lambda: len(taken) > 2)
        assert not dropped
        assert (await feed.route(PREFIX)).endpoint.path == "/app.sock"

    play(body)
