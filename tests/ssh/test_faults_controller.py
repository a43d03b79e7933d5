"""The controller killed at every step of a start and a stop: never two jobs, never an orphan, on any host."""

import asyncio
import signal

import pytest
from msgspec.structs import replace

from batch.launchers.ssh.native_id import parse
from state.records.models import Status
from tests.batch.rig import ask, by_attempt, fresh
from tests.batch.test_controller import becomes, stop, with_store
from tests.conftest import until
from tests.ssh.controller_rig import SshRig
from tests.ssh.ssh_hub import short

pytestmark = pytest.mark.faults


@pytest.fixture
def rig(pool, short_folder, store_url):
    rig = SshRig(short(short_folder), store_url, pool)
    yield rig
    rig.close()


def wanted(user="alice"):
    return replace(fresh(user), cluster="lab")


@pytest.mark.parametrize("point", ["before-submit", "after-place", "after-submit", "after-save"])
def test_a_controller_that_dies_while_it_starts_a_server_leaves_one_job_and_it_comes_up(rig, point):
    async def body(store):
        first = rig.start(fault=point)
        asked = await ask(store, wanted())
        await asyncio.to_thread(first.wait, 60)
        assert first.returncode == -signal.SIGKILL
        rig.start()
        ready = await becomes(store, Status.READY)
        assert ready.attempt == asked.attempt
        assert ready.endpoint.kind == "tls"
        place = parse(ready.job.native_id)
        assert rig.starters(asked.attempt) == [(place.host, place.pid)]
        assert len(by_attempt()[asked.attempt]) == 1
        await stop(store)
        await becomes(store, Status.STOPPED)

    with_store(rig.url, body)


@pytest.mark.parametrize("point", ["before-cancel", "after-cancel", "after-save"])
def test_a_controller_that_dies_while_it_stops_a_server_leaves_no_job_and_no_process(rig, point):
    async def body(store):
        first = rig.start()
        asked = await ask(store, wanted())
        await becomes(store, Status.READY)
        first.kill()
        await asyncio.to_thread(first.wait, 30)
        second = rig.start(fault=point)
        await stop(store)
        await asyncio.to_thread(second.wait, 60)
        assert second.returncode == -signal.SIGKILL
        rig.start()
        await becomes(store, Status.STOPPED)
        await until(lambda: not by_attempt().get(asked.attempt))
        assert not rig.starters(asked.attempt)

    with_store(rig.url, body)


def test_a_host_that_is_down_makes_its_servers_stale_and_other_hosts_go_on(rig):
    async def body(store):
        first = rig.start()
        asked = await ask(store, wanted())
        ready = await becomes(store, Status.READY)
        host = parse(ready.job.native_id).host
        rig.pool.hosts[host].kill_sshd()
        first.kill()
        await asyncio.to_thread(first.wait, 30)
        rig.start()  # it has not seen the host before

        async def stale():
            server = await store.servers.get("alice", "")
            return server if server.stale else None

        server = await until(stale)
        assert server.status is Status.READY
        events = await store.servers.events("alice", "")
        assert f"{host} cannot be reached" in events[-1].message
        await ask(store, wanted("bob"))
        bob = await becomes(store, Status.READY, user="bob")
        assert parse(bob.job.native_id).host != host
        rig.pool.hosts[host].start_sshd()

        async def back():
            server = await store.servers.get("alice", "")
            return server if not server.stale else None

        server = await until(back)
        assert (server.status, server.attempt) == (Status.READY, asked.attempt)
        for user in ("alice", "bob"):
            await stop(store, user)
            await becomes(store, Status.STOPPED, user=user)

    with_store(rig.url, body)


def test_an_empty_store_gets_its_servers_back_from_the_hosts(rig, valkey):
    async def body(store):
        first = rig.start()
        asked = await ask(store, wanted())
        ready = await becomes(store, Status.READY)
        first.kill()
        await asyncio.to_thread(first.wait, 30)
        valkey.command("FLUSHALL")
        rig.start()
        found = await becomes(store, Status.READY)
        assert (found.attempt, found.credential, found.report_hash) == (
            asked.attempt, ready.credential, ready.report_hash,
        )  # fmt: skip
        assert found.endpoint == ready.endpoint
        await stop(store)
        await becomes(store, Status.STOPPED)
        await until(lambda: not by_attempt().get(asked.attempt))

    with_store(rig.url, body)
