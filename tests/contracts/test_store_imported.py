"""Tokens of another hub, and entries into another origin, on every kind of store."""

import hashlib
from typing import Any

from state.records.models import Entrance, Token
from state.store.all import Store
from state.store.imported import Hashed

SECRET = "5d1cb1a2e0c14c2f8a5a0f7f9b9d3c11"


def hashed(secret: str = SECRET, *, rounds: int = 1) -> Hashed:
    value = hashlib.sha512(b"salt" + secret.encode() * rounds).hexdigest()
    return Hashed.read(f"sha512:{rounds}:salt:{value}", secret[:4])


def token(name: str = "jupyterhub-1") -> Token:
    return Token(id=name, user="alice", scopes=("read:servers!user=alice",), note="nightly", created=1.0)


def test_an_imported_token_is_converted_at_its_first_use_only(on_store: Any) -> None:
    async def body(store: Store) -> None:
        assert await store.imported.keep(token(), hashed())
        assert not await store.imported.keep(token(), hashed())
        assert [one.note for one in await store.tokens.of_user("alice")] == ["nightly"]
        assert not await store.imported.claim(SECRET[:4] + "x" * 28)
        assert not await store.imported.claim(SECRET[:3])
        assert not await store.imported.claim("")
        assert await store.imported.claim(SECRET)
        assert not await store.imported.claim(SECRET)
        found = await store.tokens.get(hashlib.sha256(SECRET.encode()).hexdigest())
        assert found == token()
        assert [one.id for one in await store.tokens.of_user("alice")] == ["jupyterhub-1"]

    on_store(body)


def test_a_revoked_or_ownerless_imported_token_cannot_be_used(on_store: Any) -> None:
    async def body(store: Store) -> None:
        await store.imported.keep(token(), hashed())
        assert await store.tokens.revoke("alice", "jupyterhub-1")
        assert not await store.imported.claim(SECRET)
        other = "5d1c" + "y" * 28
        await store.imported.keep(token("jupyterhub-2"), hashed(other, rounds=7))
        await store.tokens.revoke_all("alice")
        assert not await store.imported.claim(other)
        assert await store.imported.known(token("jupyterhub-2"))

    on_store(body)


def test_an_entry_into_another_origin_can_be_used_once(on_store: Any) -> None:
    async def body(store: Store) -> None:
        entrance = Entrance(user="bob", owner="alice", under="d", session_id="s", state="x", next="/user/alice/")
        code = await store.entries.issue(entrance)
        assert await store.entries.take("another") is None
        assert await store.entries.take(code) == entrance
        assert await store.entries.take(code) is None

    on_store(body)
