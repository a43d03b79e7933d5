"""OAuth codes, and tokens that are revoked with the credential they were issued under, on every kind of store."""

import asyncio

from msgspec.structs import replace

from state.records.models import OAuthCode
from state.store.credentials import digest
from tests.contracts.test_store import session_of, token_of

CODE = OAuthCode(
    client="service-wiki",
    redirect_uri="/services/wiki/oauth_callback",
    user="ann",
    scopes=("read:users:name!user=ann",),
    challenge="c",
    session="d" * 64,
    session_id="s1",
)


def test_a_code_can_be_used_once_even_in_a_race_and_only_in_time(on_store):
    async def body(store):
        code = await store.codes.issue(CODE, lifetime=60)
        taken = await asyncio.gather(*[store.codes.take(code) for _ in range(30)])
        assert [one for one in taken if one is not None] == [CODE]
        late = await store.codes.issue(CODE, lifetime=0.001)
        await asyncio.sleep(0.05)
        assert await store.codes.take(late) is None
        assert await store.codes.take("") is None

    on_store(body)


def test_the_token_that_a_code_was_exchanged_for_is_known(on_store):
    async def body(store):
        code = await store.codes.issue(CODE, lifetime=60)
        assert await store.codes.token_of(code) is None
        await store.codes.exchanged(code, user="ann", token_id="t1", lifetime=60)
        assert await store.codes.token_of(code) == ("ann", "t1")

    on_store(body)


def test_no_code_is_stored(on_store, backend):
    async def body(store):
        code = await store.codes.issue(CODE, lifetime=60)
        await store.codes.exchanged(code, user="ann", token_id="t1", lifetime=60)
        for server in getattr(backend, "servers", [backend]):
            assert code.encode() not in server.command("KEYS", "*")

    on_store(body)


def test_the_end_of_a_session_or_token_revokes_what_was_issued_under_it_with_one_event(on_store):
    async def body(store):
        ticket = digest(await store.sessions.open(session_of("ann", 1)))
        other = digest(await store.sessions.open(session_of("ann", 2)))
        for number, under in ((1, ticket), (2, ticket), (3, other), (4, "")):
            await store.tokens.keep(replace(token_of("ann", number), under=under), f"{number}" * 64)
        before = await store.feed.snapshot()
        assert await store.sessions.close(ticket)
        (event,) = await store.feed.read(before.epoch, before.number, timeout=0)
        assert set(event.digests) == {ticket, "1" * 64, "2" * 64}
        assert [token.id for token in await store.tokens.of_user("ann")] == ["t3", "t4"]
        assert await store.tokens.get("1" * 64) is None
        await store.tokens.keep(replace(token_of("ann", 5), under="4" * 64), "5" * 64)
        assert await store.tokens.revoke("ann", "t4")
        assert [token.id for token in await store.tokens.of_user("ann")] == ["t3"]
        assert await store.sessions.close_all("ann") == 1
        assert await store.tokens.of_user("ann") == []
        assert await store.tokens.get("3" * 64) is None

    on_store(body)
