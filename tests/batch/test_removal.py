"""Servers whose removal was requested, under a real leader: their tokens are revoked, also across crashes."""

import asyncio
import time

import pytest
from msgspec.structs import replace

from batch.contract import JobState
from batch.controller import leader
from state.errors import ConflictError
from state.names import server_path
from state.records.models import Share, Status, Target, Token, User
from state.store.credentials import digest
from tests.batch.rig import ask, fresh
from tests.batch.test_leader import PREFIX, play
from tests.conftest import until

__all__ = ["play"]
OLD = time.time() - 3600


async def with_token(stage):
    """Create alice's server with a token of its app and one that bob has for it."""
    for name in ("alice", "bob"):
        await stage.store.users.add(User(name=name, created=OLD))
    asked = await ask(stage.store, fresh())
    bound = {"scopes": (), "created": OLD, "bound_to": "alice/", "attempt": asked.attempt}
    return asked, [
        await stage.store.tokens.issue(Token(id=f"of-{user}", user=user, **bound)) for user in ("alice", "bob")
    ]


async def request_removal(stage):
    """Do what the API does."""
    while True:
        server = await stage.store.servers.get("alice", "")
        try:
            return await stage.store.servers.save(replace(server, target=Target.STOPPED, removing=True))
        except ConflictError:
            await asyncio.sleep(0)


async def gone(stage, secrets):
    async def away():
        return await stage.store.servers.get("alice", "") is None

    await until(away)
    assert [await stage.store.tokens.get(digest(secret)) for secret in secrets] == [None, None]
    assert await stage.store.tokens.of_user("alice") == await stage.store.tokens.of_user("bob") == []
    assert await stage.store.feed.route(PREFIX) is None


@pytest.mark.parametrize("when", ["requested", "queued", "starting", "ready", "stopping"])
def test_a_server_is_removed_with_its_tokens_whenever_that_is_requested(play, when):
    async def body(stage):
        if when == "requested":
            asked, secrets = await with_token(stage)
            await request_removal(stage)
            stage.controller()
            await gone(stage, secrets)
            return
        stage.controller()
        asked, secrets = await with_token(stage)
        await stage.becomes(Status.QUEUED)
        if when == "starting":
            stage.cluster.step(asked.attempt, JobState.ACTIVE)
            await stage.becomes(Status.STARTING)
        if when in {"ready", "stopping"}:
            stage.cluster.report_ready(asked.attempt)
            await stage.becomes(Status.READY)
        if when == "stopping":
            stage.cluster.lingers = True
            await stage.stop()
            await stage.becomes(Status.STOPPING)
        await request_removal(stage)
        if when == "stopping":
            await until(lambda: stage.cluster.cancels)
            assert await stage.store.servers.get("alice", "")
            stage.cluster.step(asked.attempt, JobState.CANCELED)
        await gone(stage, secrets)

    play(body)


def test_a_removal_survives_a_crash_of_the_controller(play):
    async def body(stage):
        stage.cluster.lingers = True
        first = stage.controller("one")
        asked, secrets = await with_token(stage)
        await stage.becomes(Status.QUEUED)
        await request_removal(stage)
        await stage.becomes(Status.STOPPING)
        await stage.end(first)
        second = stage.controller("two")
        polls = stage.cluster.polls
        await until(lambda: stage.cluster.polls > polls + 2)
        assert (await stage.store.servers.get("alice", "")).removing
        stage.cluster.step(asked.attempt, JobState.CANCELED)
        await gone(stage, secrets)
        await stage.end(second)

    play(body)


def test_an_ended_server_is_removed_once_the_scheduler_confirms_the_end(play):
    async def body(stage):
        stage.cluster.lingers = True
        stage.controller()
        asked, secrets = await with_token(stage)
        await stage.becomes(Status.QUEUED)
        server = await request_removal(stage)
        while True:  # the starter's report is faster than the scheduler
            try:
                await stage.store.servers.save(replace(server, status=Status.STOPPED, ended=time.time()))
                break
            except ConflictError:
                server = await stage.store.servers.get("alice", "")
        polls = stage.cluster.polls
        await until(lambda: stage.cluster.polls > polls + 2)
        assert await stage.store.servers.get("alice", ""), "its job is still visible and would be adopted"
        stage.cluster.step(asked.attempt, JobState.CANCELED)
        await gone(stage, secrets)
        await until(lambda: stage.cluster.polls > polls + 5)
        assert await stage.store.servers.get("alice", "") is None

    play(body)


def test_the_leader_removes_leftovers(play, monkeypatch):
    monkeypatch.setattr(leader, "SWEEP_SECONDS", 0.1)

    async def body(stage):
        await stage.store.users.add(User(name="bob", created=OLD))
        stage.controller()
        left = [
            await stage.store.tokens.issue(Token(id="1", user="bob", scopes=(), created=OLD, bound_to="alice/lab")),
            await stage.store.tokens.issue(Token(id="2", user="alice", scopes=("inherit",), created=OLD)),
        ]
        share = Share(owner="alice", server="lab", user="bob", scopes=("access:servers!server=alice/lab",), created=OLD)
        await stage.store.shares.grant(share)

        async def over():
            return [await stage.store.tokens.get(digest(secret)) for secret in left] == [None, None]

        await until(over)

        async def unshared():
            return await stage.store.shares.of("bob") == []

        await until(unshared)
        assert await stage.store.feed.route(server_path("/", "alice", "lab")) is None

    play(body)
