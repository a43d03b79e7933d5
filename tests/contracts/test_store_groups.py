"""Groups and services in the store, on every kind of store."""

import asyncio

from msgspec.structs import replace

from state.errors import ConflictError
from state.records.models import Group, Service, Token, User
from state.store.credentials import digest
from tests.contracts.test_store import count


def test_the_members_of_a_group_follow_from_the_users_records(on_store):
    async def main(store):
        await store.users.add(User(name="ann", created=1.0, groups=("bio", "chem")))
        await store.users.add(User(name="bob", created=1.0))
        assert await store.groups.names() == ["bio", "chem"]
        bob = await store.users.get("bob")
        await store.users.save(replace(bob, groups=("bio",)))
        assert await store.groups.members("bio", "chem", "none") == {"bio": ["ann", "bob"], "chem": ["ann"], "none": []}
        ann = await store.users.get("ann")
        await store.users.save(replace(ann, groups=("chem",)))
        await store.users.remove("bob")
        assert await store.groups.members("bio", "chem") == {"bio": [], "chem": ["ann"]}
        assert (await store.groups.many(["chem", "no-such"]))[0][1] == ["ann"]

    on_store(main)


def test_a_lost_race_over_a_user_leaves_no_name_in_a_list(on_store):
    async def main(store):
        await store.users.add(User(name="ann", created=1.0))
        ann = await store.users.get("ann")
        changes = [store.users.save(replace(ann, groups=(f"g{number}",))) for number in range(5)]
        assert await count(changes, ConflictError) == (1, 4)
        (mine,) = (await store.users.get("ann")).groups
        members = await store.groups.members(*[f"g{number}" for number in range(5)])
        assert {name for name, users in members.items() if users} == {mine}

    on_store(main)


def test_a_groups_record_is_saved_once_per_revision_and_can_be_removed(on_store):
    async def main(store):
        assert await store.groups.add(Group(name="bio"))
        assert not await store.groups.add(Group(name="bio", properties={"x": 1}))
        bio = await store.groups.get("bio")
        saved = await store.groups.save(replace(bio, properties={"room": [1, {"a": None}]}))
        assert await store.groups.get("bio") == saved
        results = await asyncio.gather(store.groups.save(bio), return_exceptions=True)
        assert isinstance(results[0], ConflictError)
        assert await store.groups.count() == 1
        assert await store.groups.remove("bio")
        assert not await store.groups.remove("bio")
        assert (await store.groups.names(), await store.groups.get("bio")) == ([], None)

    on_store(main)


def test_a_service_is_added_once_and_has_its_own_tokens(on_store):
    async def main(store):
        culler = Service(name="culler", scopes=("list:users",))
        assert await store.services.add(culler)
        assert not await store.services.add(Service(name="culler"))
        assert await store.services.every() == [culler]
        await store.users.add(User(name="culler", created=1.0))
        secret = await store.tokens.issue(Token(id="t1", service="culler", scopes=("inherit",), created=1.0))
        assert (await store.tokens.get(digest(secret))).owner == culler.key
        assert await store.tokens.of_user("culler") == []
        assert [token.id for token in await store.tokens.of_user(culler.key)] == ["t1"]
        assert await store.services.remove("culler")
        assert await store.services.get("culler") is None

    on_store(main)
