"""What the store guarantees for sign-ins: single use, one worker at a time, nothing left behind."""

import asyncio
import time

from msgspec.structs import replace

from state.records.models import Session, Standing, User
from state.store.credentials import digest

NOW = time.time()


def standing_of(user, session, **more):
    return Standing(user=user, session=session, provider="campus", began=NOW, checked=NOW, **more)


def test_a_flow_ends_once_however_many_try(on_store):
    async def main(store):
        assert not await store.flows.over("state")
        ended = await asyncio.gather(*(store.flows.end("state", lifetime=60) for _ in range(8)))
        assert sorted(ended) == [False] * 7 + [True]
        assert await store.flows.over("state")
        assert not await store.flows.over("other")
        await store.flows.end("late", lifetime=0.01)
        await asyncio.sleep(0.05)
        assert not await store.flows.over("late")

    on_store(main)


def test_all_callers_get_the_same_key_of_a_flow_until_it_expires(on_store):
    async def main(store):
        first, *others = await asyncio.gather(*(store.flows.key("1", lifetime=60) for _ in range(8)))
        assert len(first) == 32
        assert set(others) == {first}
        assert await store.flows.key("2", lifetime=0.01) != first
        early = await store.flows.key("2", lifetime=0.01)
        await asyncio.sleep(0.05)
        assert await store.flows.key("2", lifetime=60) != early

    on_store(main)


def test_a_key_that_expires_while_it_is_read_is_made_again(on_store, monkeypatch):
    """SET NX finds the key, and GET does not find it any more."""

    async def main(store):
        redis = store.flows._redis
        sent, in_order = [], redis.in_order

        async def expiring(*steps):
            sent.append(steps)
            return [None, None] if len(sent) == 1 else await in_order(*steps)

        monkeypatch.setattr(redis, "in_order", expiring)
        key = await store.flows.key("3", lifetime=60)
        assert len(sent) == 2
        assert await store.flows.key("3", lifetime=60) == key

    on_store(main)


def test_a_due_session_goes_to_one_worker_and_to_another_only_after_a_crash(on_store):
    async def main(store):
        standings = store.standings
        for number in range(5):
            await standings.put(standing_of("alice", f"s{number}"), due=NOW + number, lifetime=60)
        assert await standings.claim(NOW - 1, hold=100, most=10) == []
        claims = await asyncio.gather(*(standings.claim(NOW + 2, hold=100, most=2) for _ in range(4)))
        assert sorted(one for claim in claims for one in claim) == [("alice", f"s{number}") for number in range(3)]
        assert all(len(claim) <= 2 for claim in claims)
        assert await standings.hasten("alice", NOW) == 5  # reserved ones are not given to another worker
        assert sorted(await standings.claim(NOW, hold=100, most=10)) == [("alice", "s3"), ("alice", "s4")]
        assert await standings.claim(NOW + 50, hold=100, most=10) == []
        await standings.put(standing_of("alice", "s0"), due=NOW + 1000, lifetime=60)
        assert sorted(await standings.claim(NOW + 200, hold=100, most=10)) == [
            ("alice", f"s{number}") for number in range(1, 5)
        ]

    on_store(main)


def test_a_providers_identifiers_are_mapped_for_as_long_as_they_are_kept(on_store):
    async def main(store):
        standings = store.standings
        one = standing_of("alice", "s1", subject="sub-1", sid="sid-1")
        await standings.put(one, due=NOW, lifetime=60)
        assert await standings.user_of("campus", "sub-1") == "alice"
        assert await standings.session_of("campus", "sid-1") == ("alice", "s1")
        assert await standings.user_of("other", "sub-1") is None
        assert await standings.session_of("campus", "sub-1") is None
        await standings.put(replace(one, subject="sub-2"), due=NOW, lifetime=0.01)
        await asyncio.sleep(0.05)
        assert await standings.user_of("campus", "sub-2") is None

    on_store(main)


def test_a_removed_standing_is_not_due_and_a_users_are_removed_with_the_user(on_store):
    async def main(store):
        standings = store.standings
        await store.users.add(User(name="alice", created=NOW))
        for number in range(3):
            await standings.put(standing_of("alice", f"s{number}"), due=NOW, lifetime=60)
        await standings.drop("alice", "s1")
        assert await standings.get("alice", "s1") is None
        assert sorted(one.session for one in await standings.of_user("alice")) == ["s0", "s2"]
        assert len(await standings.claim(NOW, hold=1, most=10)) == 2
        await store.users.remove("alice")
        assert await standings.of_user("alice") == []

    on_store(main)


def test_something_is_seen_for_the_first_time_once(on_store):
    async def main(store):
        seen = await asyncio.gather(*(store.standings.first("jti", lifetime=60) for _ in range(8)))
        assert sorted(seen) == [False] * 7 + [True]
        assert await store.standings.first("other", lifetime=60)

    on_store(main)


def test_the_standing_of_a_session_is_written_with_it_and_before_it(on_store):
    async def main(store):
        now = time.time()
        standing = standing_of("alice", "s1", subject="sub-1", sid="sid-1")
        session = Session(id="s1", user="alice", created=now, expires=now + 60)
        resting = store.standings.putting(standing, due=now - 1, lifetime=60)
        ticket = await store.sessions.open(session, first=resting)
        assert await store.sessions.get(digest(ticket)) == session
        assert await store.sessions.holds("alice", "s1")
        assert await store.standings.get("alice", "s1") == standing
        assert await store.standings.session_of("campus", "sid-1") == ("alice", "s1")
        assert await store.standings.claim(now, hold=60, most=10) == [("alice", "s1")]

    on_store(main)


def test_steps_are_done_in_order(on_store):
    async def main(store):
        async def one(number):
            key = f"towpath:{{order{number}}}:list"
            steps = [[("RPUSH", key, at), ("EXPIRE", key, 60)] for at in range(8)]
            *replies, found = await store.redis.in_order((), *steps, [("LRANGE", key, 0, -1)])
            assert len(replies) == 16
            assert found == [b"%d" % at for at in range(8)]

        await asyncio.gather(*(one(number) for number in range(20)))
        assert await store.redis.in_order() == []

    on_store(main)


def test_a_session_is_found_and_ended_by_its_id(on_store):
    async def main(store):
        now = time.time()  # the store removes expired sessions
        ticket = await store.sessions.open(Session(id="s1", user="alice", created=now, expires=now + 60))
        assert await store.sessions.holds("alice", "s1")
        assert not await store.sessions.holds("alice", "s2")
        assert not await store.sessions.holds("bob", "s1")
        assert await store.sessions.end("alice", "s1")
        assert await store.sessions.get(digest(ticket)) is None
        assert not await store.sessions.holds("alice", "s1")
        assert not await store.sessions.end("alice", "s1")

    on_store(main)
