"""The controller as a real process on a real store, with real jobs on this machine."""

import asyncio
import os
import signal

import pytest
from msgspec.structs import replace

from state.errors import ConflictError
from state.names import server_path
from state.records.models import Server, Status, Target
from state.store.all import Store
from tests.batch.apps import script
from tests.batch.rig import Rig, ask, by_attempt, fresh
from tests.conftest import run, until

CRASH_POINTS = ("before-submit", "after-submit", "after-save")


@pytest.fixture
def make_rig(short_folder, store_url, tmp_path_factory):
    made = []

    def make(**options):
        folder = short_folder / f"rig{len(list(short_folder.iterdir()))}"
        folder.mkdir()
        rig = Rig(folder, store_url, **options)
        made.append(rig)
        return rig

    yield make
    for rig in made:
        rig.close()


@pytest.fixture
def rig(make_rig):
    return make_rig()


async def status(store, user="alice", name=""):
    server = await store.servers.get(user, name)
    return server.status if server else None


async def becomes(store, wanted, user="alice", name="") -> Server:
    async def there():
        server = await store.servers.get(user, name)
        return server if server and server.status is wanted else None

    return await until(there, seconds=40)


async def stop(store, user="alice", name=""):
    while True:
        server = await store.servers.get(user, name)
        try:
            return await store.servers.save(replace(server, target=Target.STOPPED))
        except ConflictError:
            continue


def with_store(url, body):
    async def main():
        store = await Store.open(url)
        try:
            return await body(store)
        finally:
            await store.close()

    return run(main())


def test_a_server_starts_gets_its_route_and_stops_on_request(rig):
    async def body(store):
        rig.start()
        asked = await ask(store, fresh())
        ready = await becomes(store, Status.READY)
        route = await until(lambda: store.feed.route(server_path("/", "alice", "")))
        assert route.endpoint == ready.endpoint
        assert route.attempt == asked.attempt
        assert route.credential == ready.credential
        assert ready.credential.startswith("token ")
        assert ready.job.cluster == "local"
        events = await store.servers.events("alice", "")
        statuses = list(dict.fromkeys(event.status for event in events))
        assert statuses[0] is Status.REQUESTED
        assert statuses[-1] is Status.READY
        assert all(event.message.endswith(".") for event in events)
        await stop(store)
        stopped = await becomes(store, Status.STOPPED)
        assert stopped.credential == ""
        assert await store.feed.route(server_path("/", "alice", "")) is None
        await until(lambda: not by_attempt().get(asked.attempt))
        await until(lambda: none_active(store), seconds=40)

    with_store(rig.url, body)


async def none_active(store):
    return not await store.servers.active()


def test_an_app_that_exits_immediately_fails_with_its_log_and_can_be_started_again(make_rig):
    rig = make_rig(commands={"broken": script("import sys; print('no licence', flush=True); sys.exit(4)")})

    async def body(store):
        rig.start()
        await ask(store, fresh(profile="broken"))
        failed = await becomes(store, Status.FAILED)
        assert failed.reason.code == "exited"
        assert failed.reason.exit_code == 4
        assert "no licence" in failed.reason.log_tail
        assert failed.reason.hint
        assert failed.target is Target.STOPPED
        await ask(store, fresh())
        await becomes(store, Status.READY)

    with_store(rig.url, body)


def test_a_missing_command_fails_with_a_message(make_rig):
    rig = make_rig(commands={"absent": ("no-such-program", "{socket}")})

    async def body(store):
        rig.start()
        await ask(store, fresh(profile="absent"))
        failed = await becomes(store, Status.FAILED)
        assert failed.reason.code == "command"
        assert "no-such-program" in failed.reason.message

    with_store(rig.url, body)


def test_an_app_that_never_becomes_ready_fails_after_the_start_window(make_rig):
    rig = make_rig(commands={"mute": script("import time\nwhile True: time.sleep(9)")}, start_window=1)

    async def body(store):
        rig.start()
        asked = await ask(store, fresh(profile="mute"))
        failed = await becomes(store, Status.FAILED)
        assert failed.reason.code == "no-answer"
        await until(lambda: not by_attempt().get(asked.attempt))

    with_store(rig.url, body)


def test_an_app_that_dies_later_fails_and_loses_its_route(rig):
    async def body(store):
        rig.start()
        asked = await ask(store, fresh())
        await becomes(store, Status.READY)
        for pid in by_attempt()[asked.attempt]:
            os.kill(pid, signal.SIGKILL)
        failed = await becomes(store, Status.FAILED)
        assert failed.reason.code == "app-died"
        assert await store.feed.route(server_path("/", "alice", "")) is None

    with_store(rig.url, body)


def test_a_server_can_be_stopped_before_its_job_is_ready(make_rig):
    rig = make_rig(commands={"mute": script("import time\nwhile True: time.sleep(9)")})

    async def body(store):
        rig.start()
        asked = await ask(store, fresh(profile="mute"))
        await until(lambda: by_attempt().get(asked.attempt))
        await stop(store)
        await becomes(store, Status.STOPPED)
        await until(lambda: not by_attempt().get(asked.attempt))

    with_store(rig.url, body)


def test_a_stop_before_the_controller_saw_the_request_starts_nothing(rig):
    async def body(store):
        asked = await ask(store, fresh())
        await stop(store)
        rig.start()
        await becomes(store, Status.STOPPED)
        assert by_attempt().get(asked.attempt) is None

    with_store(rig.url, body)


def test_a_killed_controller_leaves_servers_running_and_its_successor_finds_them(rig):
    async def body(store):
        first = rig.start()
        asked = await ask(store, fresh())
        ready = await becomes(store, Status.READY)
        first.kill()
        first.wait()
        pids = by_attempt()[asked.attempt]
        rig.start()
        await ask(store, fresh("bob"))
        await becomes(store, Status.READY, "bob")
        now = await store.servers.get("alice", "")
        assert (now.status, now.endpoint, now.attempt) == (Status.READY, ready.endpoint, asked.attempt)
        assert by_attempt()[asked.attempt] == pids

    with_store(rig.url, body)


@pytest.mark.faults
@pytest.mark.parametrize("point", CRASH_POINTS)
def test_a_crash_at_any_step_of_a_start_neither_loses_nor_duplicates_the_job(rig, point):
    async def body(store):
        first = rig.start(fault=point)
        asked = await ask(store, fresh())
        await asyncio.to_thread(first.wait, 30)
        assert first.returncode == -signal.SIGKILL
        rig.start()
        ready = await becomes(store, Status.READY)
        assert ready.attempt == asked.attempt
        assert rig.jobs() == [asked.attempt]
        assert len(by_attempt()[asked.attempt]) == 1
        await until(lambda: store.feed.route(server_path("/", "alice", "")))

    with_store(rig.url, body)


@pytest.mark.faults
@pytest.mark.parametrize("point", ["before-cancel", "after-cancel", "after-save"])
def test_a_crash_at_any_step_of_a_stop_leaves_no_job_behind(rig, point):
    async def body(store):
        first = rig.start()
        asked = await ask(store, fresh())
        await becomes(store, Status.READY)
        first.terminate()
        await asyncio.to_thread(first.wait, 30)
        second = rig.start(fault=point)
        await stop(store)
        await asyncio.to_thread(second.wait, 30)
        assert second.returncode == -signal.SIGKILL
        rig.start()
        await becomes(store, Status.STOPPED)
        await until(lambda: not by_attempt().get(asked.attempt))
        assert await store.feed.route(server_path("/", "alice", "")) is None

    with_store(rig.url, body)


@pytest.mark.faults
def test_an_empty_store_recovers_its_servers_from_the_jobs(rig, valkey):
    async def body(store):
        rig.start()
        asked = await ask(store, fresh(name="lab"))
        ready = await becomes(store, Status.READY, name="lab")
        rig.processes[0].kill()
        rig.processes[0].wait()
        valkey.command("FLUSHALL")
        rig.start(holder="another")
        again = await becomes(store, Status.READY, name="lab")
        assert (again.attempt, again.endpoint, again.credential) == (asked.attempt, ready.endpoint, ready.credential)
        route = await until(lambda: store.feed.route(server_path("/", "alice", "lab")))
        assert route.credential == ready.credential
        assert (await store.users.get("alice")) is not None
        await stop(store, name="lab")
        await becomes(store, Status.STOPPED, name="lab")

    with_store(rig.url, body)


def test_a_job_of_an_older_attempt_is_cancelled_when_there_is_a_newer_one(rig):
    async def body(store):
        first = rig.start()
        old = await ask(store, fresh())
        record = await becomes(store, Status.READY)
        first.kill()
        first.wait()
        await store.servers.remove(record)
        new = await ask(store, fresh())
        rig.start()
        assert (await becomes(store, Status.READY)).attempt == new.attempt
        await until(lambda: not by_attempt().get(old.attempt))
        assert by_attempt()[new.attempt]

    with_store(rig.url, body)


def test_a_missing_route_is_published_and_a_stray_one_dropped(rig):
    async def body(store):
        first = rig.start()
        await ask(store, fresh())
        await becomes(store, Status.READY)
        route = await until(lambda: store.feed.route(server_path("/", "alice", "")))
        first.terminate()
        await asyncio.to_thread(first.wait, 30)
        await store.feed.drop_route(route.prefix)
        await store.feed.set_route(replace(route, prefix="/user/ghost/", user="ghost"))
        rig.start()
        assert await until(lambda: store.feed.route(route.prefix)) == route

        async def ghost_is_gone():
            return await store.feed.route("/user/ghost/") is None

        await until(ghost_is_gone)

    with_store(rig.url, body)


def test_a_graceful_exit_releases_the_lease_and_leaves_the_jobs(rig):
    async def body(store):
        first = rig.start(holder="one")
        asked = await ask(store, fresh())
        await becomes(store, Status.READY)
        first.terminate()
        assert await asyncio.to_thread(first.wait, 30) == 0
        assert await store.leases.take("controller", "another", seconds=1) is not None
        assert by_attempt()[asked.attempt]

    with_store(rig.url, body)


def test_a_fenced_leader_stops_leading(rig):
    async def body(store):
        rig.start(holder="one")
        await ask(store, fresh())
        await becomes(store, Status.READY)
        fence = await store.leases.take("controller", "one", seconds=3)  # as its restarted self would
        record = await store.servers.get("alice", "")
        await store.servers.save(record, fence=fence)
        await stop(store)
        await becomes(store, Status.STOPPED)
        final = await store.servers.get("alice", "")
        assert final.fence > fence

    with_store(rig.url, body)


def test_many_simultaneous_starts_succeed(rig):
    async def body(store):
        rig.start()
        await asyncio.gather(*(ask(store, fresh(f"user{number}")) for number in range(20)))
        for number in range(20):
            await becomes(store, Status.READY, f"user{number}")
        assert len(rig.jobs()) == 20

    with_store(rig.url, body)
