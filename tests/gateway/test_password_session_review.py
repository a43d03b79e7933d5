"""The review of sessions with a password: users who were removed from the directory lose access."""

import asyncio
import shutil

import pytest
from campus import Clock, Visitor, sign_in

from portal.site.sign_in import RefusedError
from state.records.models import Token
from state.rights.identity import Identity
from state.store.credentials import digest
from tests.ldap_server import GROUPS, HUB_DN, HUB_PASSWORD, USERS, Slapd, group, user_entry


@pytest.fixture(scope="module")
def slapd(tmp_path_factory):
    server = Slapd(tmp_path_factory.mktemp("slapd")).start()
    yield server
    server.stop()
    shutil.rmtree(server.folder)


@pytest.fixture
def run(slapd, store_url):
    def runner(main, **ldap):
        clock = Clock()
        table = {
            "servers": [slapd.ldaps],
            "ca_file": str(slapd.ca),
            "bind_dn": HUB_DN,
            "bind_password": HUB_PASSWORD,
            "user_base": USERS,
            "groups": "search",
            "group_base": GROUPS,
            **ldap,
        }
        provider = {
            "name": "ldap",
            "kind": "ldap",
            "ldap": table,
            "allowed_groups": ["in", "in10", "in7"],
            "admin_groups": ["boss", "boss2"],
        }

        async def with_store():
            async with sign_in(store_url, {"provider": [provider]}, clock=clock) as auth:
                await main(auth, clock)

        asyncio.run(with_store())

    return runner


async def enter(auth, name, password="right"):
    """Return a browser that has signed in."""
    visitor = Visitor(auth)
    request = visitor.request()
    request.scope["state"]["address"] = "127.0.0.1"
    user = await auth.sign_in("ldap", {"username": name, "password": password}, request)
    visitor._keep(await auth.open_session(user, request, way="ldap"))
    ticket = digest(visitor.cookies["towpath-session"])
    visitor.identity = Identity(user, ticket, frozenset(), session=await auth._store.sessions.get(ticket))
    return visitor


async def later(auth, clock):
    clock.ahead += 400.0
    while await auth.session_review.review_due():
        pass


def test_removed_users_and_groups_lose_access_and_an_outage_ends_no_session(slapd, run):
    alice, bob, carol = (f"uid={name},{USERS}" for name in ("alice", "bob", "carol"))
    slapd.add(
        *(user_entry(name) for name in ("alice", "bob", "carol")),
        group("in", alice, bob, carol),
        group("boss", bob, carol),
    )

    async def main(auth, clock):
        visitors = {name: await enter(auth, name) for name in ("alice", "bob", "carol")}
        with pytest.raises(RefusedError):
            await enter(auth, "alice", "wrong")
        users = auth._store.users
        assert (await users.get("bob")).admin

        async def inside():
            return {name for name, visitor in visitors.items() if await visitor.signed_in() == name}

        slapd.stop()
        await later(auth, clock)
        assert await inside() == {"alice", "bob", "carol"}
        slapd.start()

        slapd.change(f"dn: cn=boss,{GROUPS}\nchangetype: modify\ndelete: member\nmember: {bob}\n")
        slapd.change(f"dn: cn=in,{GROUPS}\nchangetype: modify\ndelete: member\nmember: {carol}\n")
        slapd.change(f"dn: {alice}\nchangetype: delete\n")
        await later(auth, clock)
        assert await inside() == {"bob", "carol"}
        bobs = await users.get("bob")
        assert (bobs.admin, bobs.groups) == (False, ("in",))
        assert (await users.get("carol")).groups == ("boss",)

        slapd.change(f"dn: cn=boss,{GROUPS}\nchangetype: delete\n")
        await later(auth, clock)
        assert await inside() == {"bob"}

    run(main)


@pytest.mark.parametrize("ended", ["signed out", "expired"])
def test_users_with_only_a_token_are_reviewed_until_the_token_ends(slapd, run, ended):
    erin = f"uid=erin{len(ended)},{USERS}"
    name = erin[4:].partition(",")[0]
    slapd.add(user_entry(name), group(f"in{len(ended)}", erin))

    async def main(auth, clock):
        store = auth._store
        browsers = [await enter(auth, name) for _ in range(3)]
        await store.tokens.issue(Token(id="t", user=name, scopes=("self",), created=0.0))
        for browser in browsers:
            if ended == "signed out":
                await auth.close_session(browser.request())
            else:
                await store.sessions.close(browser.identity.digest)
        await later(auth, clock)
        await later(auth, clock)
        assert [standing.user for standing in await store.standings.of_user(name)] == [name]
        assert len(await store.tokens.of_user(name)) == 1
        slapd.change(f"dn: {erin}\nchangetype: delete\n")
        await later(auth, clock)
        assert await store.tokens.of_user(name) == []
        assert await store.standings.of_user(name) == []

    run(main)


def test_users_without_session_and_token_are_not_reviewed(slapd, run):
    slapd.add(user_entry("fay"), group("boss2", f"uid=fay,{USERS}"))

    async def main(auth, clock):
        fay = await enter(auth, "fay")
        await auth.close_session(fay.request())
        await later(auth, clock)
        assert await auth._store.standings.of_user("fay") == []

    run(main)


def test_without_refresh_the_directory_is_not_asked_again(slapd, run):
    slapd.add(user_entry("dora"), group("boss", f"uid=dora,{USERS}"))

    async def main(auth, clock):
        dora = await enter(auth, "dora")
        slapd.change(f"dn: uid=dora,{USERS}\nchangetype: delete\n")
        clock.ahead += 8000.0
        while await auth.session_review.review_due():
            pass
        assert await dora.signed_in() == "dora"

    run(main, refresh=0)
