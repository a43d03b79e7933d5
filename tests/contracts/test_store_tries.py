"""The counters of failed sign-ins, on every kind of store."""

import asyncio

import pytest

from state.store import keys
from state.store.tries import FAMILIAR_KEPT, Begun, Limit, Wait

NOW = 1_800_000_000.0
HERE, ANYWHERE = keys.tries_at("n", "here"), keys.tries_at("n")
LIMIT = Limit(free=3, leak=1000, first=2, most=30)


async def fail(store, times, *, now=NOW, limits=None):
    for _ in range(times):
        assert isinstance(await store.tries.begin(limits or {HERE: LIMIT}, now=now), Begun)


def test_some_attempts_are_free_and_then_each_doubles_the_wait(on_store):
    async def body(store):
        await fail(store, 4)
        now = NOW
        for wait in (2, 4, 8, 16, 30, 30):
            told = await store.tries.begin({HERE: LIMIT}, now=now)
            assert isinstance(told, Wait)
            assert told.key == HERE
            assert told.seconds == pytest.approx(wait, abs=0.01)
            now += told.seconds + 0.001
            await fail(store, 1, now=now)

    on_store(body)


def test_attempts_expire_one_after_another(on_store):
    async def body(store):
        await fail(store, 4)
        assert isinstance(await store.tries.begin({HERE: LIMIT}, now=NOW + 1.9), Wait)
        await fail(store, 3, now=NOW + 3001)
        assert isinstance(await store.tries.begin({HERE: LIMIT}, now=NOW + 3001), Wait)

    on_store(body)


def test_a_thousand_simultaneous_attempts_count_as_a_thousand(on_store):
    async def body(store):
        told = await asyncio.gather(*[store.tries.begin({HERE: LIMIT}, now=NOW) for _ in range(1000)])
        assert sum(isinstance(each, Begun) for each in told) == LIMIT.free + 1

    on_store(body)


def test_simultaneous_attempts_do_not_block_each_other(on_store):
    """A class behind one address: the clock of an attempt may have been read before that of one that came first."""

    async def body(store):
        await fail(store, 1, now=NOW + 0.2)
        await fail(store, 2, now=NOW)

    on_store(body)


def test_an_attempt_that_must_wait_is_not_counted(on_store):
    async def body(store):
        await fail(store, 4, limits={ANYWHERE: LIMIT})
        both = {HERE: LIMIT, ANYWHERE: LIMIT}
        for _ in range(50):
            assert (await store.tries.begin(both, now=NOW)).key == ANYWHERE
        await fail(store, 4)

    on_store(body)


def test_a_subtracted_attempt_has_no_effect(on_store):
    async def body(store):
        for _ in range(20):
            await store.tries.take_back(await store.tries.begin({HERE: LIMIT}, now=NOW))
        await fail(store, 4)
        assert isinstance(await store.tries.begin({HERE: LIMIT}, now=NOW), Wait)

    on_store(body)


def test_subtracting_an_attempt_does_not_end_the_block_of_a_later_one(on_store):
    async def body(store):
        early = [await store.tries.begin({HERE: LIMIT}, now=NOW) for _ in range(3)]
        await fail(store, 1)
        for each in early:
            await store.tries.take_back(each)
        assert isinstance(await store.tries.begin({HERE: LIMIT}, now=NOW), Wait)

    on_store(body)


def test_success_resets_the_counters_and_remembers_the_place_for_a_time(on_store):
    async def body(store):
        await fail(store, 4)
        await store.tries.succeeded("n", (HERE, ANYWHERE), ("home", "browser"), now=NOW, keep=1000)
        await fail(store, 4)
        places = ("home", "browser", "elsewhere")
        assert await store.tries.familiar("n", places, now=NOW + 999) == {"home", "browser"}
        assert await store.tries.familiar("other", places, now=NOW) == frozenset()
        assert await store.tries.familiar("n", places, now=NOW + 1001) == frozenset()

    on_store(body)


def test_the_places_of_a_name_are_bounded_and_the_latest_stay(on_store):
    async def body(store):
        for at in range(FAMILIAR_KEPT + 10):
            await store.tries.succeeded("n", (), (f"place{at}",), now=NOW + at, keep=1000)
        everywhere = [f"place{at}" for at in range(FAMILIAR_KEPT + 10)]
        assert await store.tries.familiar("n", everywhere, now=NOW + 100) == set(everywhere[10:])

    on_store(body)


def test_counters_expire(on_store):
    async def body(store):
        now = await store.redis.call("TTL", HERE)
        assert now == -2
        await fail(store, 2)
        assert 2000 <= await store.redis.call("TTL", HERE) <= 2001
        await store.tries.succeeded("n", (HERE,), ("home",), now=NOW, keep=500)
        assert await store.redis.call("TTL", HERE) == -2
        assert 499 <= await store.redis.call("TTL", keys.familiar("n")) <= 500

    on_store(body)
