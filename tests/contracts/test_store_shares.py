"""Shares and share codes in the store, on every kind of store."""

import asyncio
import time

from state.records.models import Share, ShareCode, User
from state.store.credentials import digest
from tests.conftest import until

FULL, LOOK = "access:servers!server=ann/lab", "read:access:servers!server=ann/lab"


def share(*scopes, server="lab", **who):
    return Share(owner="ann", server=server, scopes=scopes or (FULL,), created=1000.25, **who)


def test_a_share_can_be_extended_and_reduced_and_its_recipients_find_it(on_store):
    async def main(store):
        assert await store.shares.grant(share(LOOK, user="bob")) == share(LOOK, user="bob")
        both = await store.shares.grant(share(FULL, user="bob"))
        assert (both.scopes, both.created) == ((FULL, LOOK), 1000.25)
        await store.shares.grant(share(group="bio", server=""))
        bob = User(name="bob", created=1.0, groups=("bio",))
        assert [(one.server, one.key) for one in await store.shares.of("bob", "group:bio")] == [
            ("", "group:bio"),
            ("lab", "bob"),
        ]
        assert await store.shares.scopes_of([bob, User(name="carl", created=1.0)]) == {"bob": [FULL, LOOK, FULL]}
        assert (await store.shares.revoke(share(user="bob"), [FULL, "no:such"])).scopes == (LOOK,)
        assert await store.shares.revoke(share(user="bob")) is None
        assert await store.shares.revoke(share(user="bob")) is None
        assert [one.key for one in await store.shares.of_owner("ann")] == ["group:bio"]
        assert await store.shares.of("bob") == []

    on_store(main)


def test_concurrent_grants_and_revocations_leave_no_dangling_pointer(on_store):
    async def main(store):
        work = [store.shares.grant(share(user="bob")), store.shares.revoke(share(user="bob"))] * 1
        for _ in range(5):
            work += [store.shares.grant(share(LOOK, user="bob")), store.shares.revoke(share(user="bob"), [LOOK])]
        await asyncio.gather(*work)
        assert len(await store.shares.of("bob")) == len(await store.shares.of_owner("ann", "lab"))
        await store.shares.grant(share(user="bob"))
        assert len(await store.shares.of("bob")) == 1

    on_store(main)


def test_a_recipient_who_loses_or_gets_a_share_is_checked_again(on_store):
    async def main(store):
        start = await store.feed.snapshot()
        await store.shares.grant(share(user="bob"))
        await store.shares.grant(share(group="bio"))
        await store.shares.revoke(share(user="bob"))
        await store.shares.remove_server("ann", "lab")
        events = await store.feed.read(start.epoch, start.number, timeout=0)
        assert [event.user for event in events] == ["bob", "group:bio", "bob", "group:bio"]

    on_store(main)


def test_shares_are_removed_with_their_owner_and_with_their_recipient(on_store):
    async def main(store):
        for name in ("ann", "bob"):
            await store.users.add(User(name=name, created=1.0))
        await store.shares.grant(share(user="bob"))
        await store.shares.grant(share(user="carl", server=""))
        await store.users.remove("bob")
        assert [one.key for one in await store.shares.of_owner("ann")] == ["carl"]
        await store.users.remove("ann")
        assert await store.shares.of("carl") == []

    on_store(main)


def test_a_code_is_found_by_its_secret_only_and_expires(on_store):
    async def main(store):
        now = time.time()
        code = ShareCode(id="sc_1", owner="ann", server="lab", scopes=(FULL,), created=now, expires=now + 60)
        brief = ShareCode(id="sc_2", owner="ann", scopes=(FULL,), created=now, expires=now + 0.2)
        secret, _ = await store.shares.issue_code(code), await store.shares.issue_code(brief)
        assert await store.shares.code(secret) == code
        assert await store.shares.code(digest(secret)) is None
        await until(lambda: _gone(store))
        assert await store.shares.codes("ann", "lab") == [code]
        assert await store.shares.end_code(code)
        assert not await store.shares.end_code(code)
        assert await store.shares.code(secret) is None

    on_store(main)


async def _gone(store):
    return len(await store.shares.codes("ann")) == 1
