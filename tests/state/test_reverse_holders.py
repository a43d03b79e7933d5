"""Which workers hold connections of an attempt: known for a short time, and to all."""

from state.records.reverse import Holder
from state.store.all import Store
from tests.conftest import run

ATTEMPT, OTHER = "a" * 32, "b" * 32
ONE, TWO = Holder(path="/run/one.peer"), Holder(path="/run/two.peer", host="10.0.0.2", port=4711)


def test_workers_are_found_until_they_withdraw_or_their_time_is_over(store_url):
    async def main():
        store = await Store.open(store_url)
        holders = store.reverse_holders
        try:
            await holders.hold([ATTEMPT, OTHER], ONE, until=140.0, now=100.0)
            await holders.hold([ATTEMPT], TWO, until=150.0, now=110.0)
            assert await holders.find(ATTEMPT, now=120.0) == [ONE, TWO]
            assert await holders.find(ATTEMPT, now=141.0) == [TWO]
            assert await holders.find(OTHER, now=120.0) == [ONE]
            await holders.release([ATTEMPT, OTHER], ONE)
            assert await holders.find(ATTEMPT, now=120.0) == [TWO]
            assert await holders.find(OTHER, now=120.0) == []
            await holders.hold([], ONE, until=140.0, now=100.0)
            (key,) = [key async for keys in store.redis.scan("towpath:{reverse:*") for key in keys]
            assert 0 < await store.redis.call("PTTL", key) <= 40_000
            await store.redis.call("ZADD", key, 150.0, b"of a newer version")
            assert await holders.find(ATTEMPT, now=120.0) == [TWO]
        finally:
            await store.close()

    run(main())
