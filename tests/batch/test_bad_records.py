"""A leader whose store has unreadable records: other servers are not affected, and no job is lost."""

import asyncio
import json

import pytest

from batch.controller import leader
from state.names import server_path
from state.records.models import Status, User
from state.store import keys
from tests.batch.rig import ask, fresh
from tests.batch.test_leader import PREFIX, play
from tests.conftest import until

__all__ = ["play"]
BAD = b'{"status":"hibernating"}'


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(leader, "REVIEW_SECONDS", 0.1)
    monkeypatch.setattr(leader, "SCAN_SECONDS", 0.2)


async def spoiled(stage, raw):
    """Start alice's server, then make its record unreadable."""
    await stage.store.users.add(User(name="alice", created=1.0))
    asked = await ask(stage.store, fresh())
    await stage.becomes(Status.QUEUED)
    stage.cluster.report_ready(asked.attempt)
    await stage.becomes(Status.READY)
    before = await stage.store.redis.call("HGET", keys.servers("alice"), "")
    text = raw if raw is not None else json.dumps({**json.loads(before), "version": 99, "status": "asleep"}).encode()
    await stage.store.redis.call("HSET", keys.servers("alice"), "", text)
    return asked, before, text


async def is_ready(stage, user):
    server = await stage.store.servers.get(user, "")
    return server is not None and server.status is Status.READY


@pytest.mark.parametrize("raw", [BAD, b"", b"{", None], ids=["status", "empty", "half", "newer"])
def test_an_unreadable_record_of_a_server_affects_no_other(play, raw):
    async def body(stage):
        first = stage.controller("one")
        asked, before, text = await spoiled(stage, raw)
        for name in ("bob", "carol"):
            await stage.store.users.add(User(name=name, created=1.0))
            other = await ask(stage.store, fresh(name))
            await until(lambda attempt=other.attempt: attempt in stage.cluster.jobs)
            stage.cluster.report_ready(other.attempt)
            await until(lambda name=name: is_ready(stage, name))
            await until(lambda name=name: stage.store.feed.route(server_path("/", name, "")))
            if name == "bob":  # the same applies to a leader that finds the record there
                await stage.end(first)
                stage.controller("two")
        polls = stage.cluster.polls
        await until(lambda: stage.cluster.polls > polls + 3)
        # nothing acts on the record or its job: both are unchanged, and running servers can be reached
        assert await stage.store.redis.call("HGET", keys.servers("alice"), "") == text
        assert asked.attempt not in stage.cluster.cancels
        assert (await stage.store.feed.route(PREFIX)).attempt == asked.attempt
        assert "alice/" in await stage.store.servers.active()

        async def listed():
            return [record.place for record in await stage.store.bad_records.every()]

        await until(listed)
        assert await listed() == [keys.servers("alice")]
        # once it can be read again, its server works again
        await stage.store.redis.call("HSET", keys.servers("alice"), "", before)
        await stage.stop()
        await stage.becomes(Status.STOPPED)

    play(body)


def test_unreadable_routes_and_audit_entries_affect_nothing_else(play):
    async def body(stage):
        await stage.store.redis.call("HSET", keys.FEED_ROUTES, PREFIX, BAD)
        await stage.store.redis.call("XADD", keys.AUDIT_LOG, "*", "entry", BAD)
        stage.controller()
        await stage.store.users.add(User(name="alice", created=1.0))
        asked = await ask(stage.store, fresh())
        await stage.becomes(Status.QUEUED)
        stage.cluster.report_ready(asked.attempt)
        await stage.becomes(Status.READY)
        await until(lambda: stage.store.feed.route(PREFIX))
        await asyncio.sleep(0)

    play(body)
