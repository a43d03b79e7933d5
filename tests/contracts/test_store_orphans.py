"""What is removed with a server, a user, a group or a service, on every path, and what a sweep finds after a crash."""

import time

import pytest
from msgspec.structs import replace

from state.records.models import Group, Service, Share, ShareCode, Status, Target, Token, User
from state.store import keys
from state.store.credentials import digest
from tests.contracts.test_store import server_of, session_of

OLD = time.time() - 3600
OTHER = "b" * 32


def app_token(name="lab", attempt="a" * 32, **more):
    return Token(id=f"app{name}", user="ann", scopes=(), created=OLD, bound_to=f"ann/{name}", attempt=attempt, **more)


def client_token(user, name="lab", attempt="a" * 32):
    """A token of `user` that was issued to ann's server by OAuth."""
    client = f"jupyterhub-user-ann-{name}"
    return replace(app_token(name, attempt), id=f"o-{user}-{name}", user=user, client=client, session_id="s1")


def share_of(server="lab", *, user="", group=""):
    return Share(
        owner="ann",
        server=server,
        user=user,
        group=group,
        scopes=(f"access:servers!server=ann/{server}",),
        created=OLD,
    )


def code_of(server="lab"):
    return ShareCode(id=f"c-{server}", owner="ann", server=server, scopes=(), created=OLD, expires=time.time() + 3600)


async def users(store):
    for name in ("ann", "bob"):
        await store.users.add(User(name=name, created=OLD))


async def lab(store, **fields):
    """Create ann's server `lab` with an app's token, an OAuth token of bob's, a share and a share code."""
    await users(store)
    server = await store.servers.save(server_of("ann", "lab", **fields))
    secrets = [await store.tokens.issue(app_token()), await store.tokens.issue(client_token("bob"))]
    await store.shares.grant(share_of(user="bob"))
    secrets.append(await store.shares.issue_code(code_of()))
    return server, secrets


async def valid(store, *secrets):
    """Return which of these are still valid."""
    return [
        await store.tokens.get(digest(secret)) is not None or await store.shares.code(secret) is not None
        for secret in secrets
    ]


async def sweep(store, **more):
    return await store.orphans.sweep(services=(), now=time.time(), **more)


@pytest.mark.parametrize("status", list(Status))
def test_everything_that_a_server_was_given_is_revoked_when_it_is_removed(on_store, status):
    async def body(store):
        target = Target.READY if status in {Status.REQUESTED, Status.QUEUED, Status.STARTING} else Target.STOPPED
        server, secrets = await lab(store)
        server = await store.servers.save(replace(server, status=status, target=target))
        before = await store.feed.snapshot()
        await store.servers.remove(server)
        assert await valid(store, *secrets) == [False, False, False]
        assert await store.shares.of("bob") == []
        assert await store.tokens.of_user("ann") == await store.tokens.of_user("bob") == []
        assert await store.redis.call("EXISTS", keys.bound("ann/lab")) == 0
        told = await store.feed.read(before.epoch, before.number, timeout=0)
        if status not in {Status.STOPPED, Status.FAILED}:  # of ended servers, the tokens were revoked with the attempt
            assert {digest(secret) for secret in secrets[:2]} <= {
                key for event in told for key in getattr(event, "digests", ())
            }
        assert "bob" in {event.user for event in told}

    on_store(body)


def test_the_tokens_of_an_attempt_are_revoked_with_it_and_those_of_the_next_are_not(on_store):
    async def body(store):
        server, secrets = await lab(store)
        await store.tokens.issue(replace(client_token("bob", attempt=OTHER), id="next"))
        await store.servers.save(replace(server, status=Status.STOPPED, target=Target.STOPPED))
        assert await valid(store, *secrets) == [False, False, True]
        assert [token.id for token in await store.tokens.of_user("bob")] == ["next"]
        assert [share.user for share in await store.shares.of_owner("ann")] == ["bob"]  # for the next start

    on_store(body)


def test_a_revoked_token_leaves_the_list_of_its_server(on_store):
    async def body(store):
        await lab(store)
        await store.tokens.revoke("bob", "o-bob-lab")
        assert await store.redis.call("HKEYS", keys.bound("ann/lab")) == [b"ann/applab"]
        await store.tokens.revoke_all("ann")
        assert await store.redis.call("EXISTS", keys.bound("ann/lab")) == 0

    on_store(body)


def test_a_removed_user_takes_along_what_others_were_given_for_their_servers(on_store):
    async def body(store):
        _, secrets = await lab(store)
        own = await store.tokens.issue(Token(id="own", user="ann", scopes=("inherit",), created=OLD))
        await store.sessions.open(session_of("ann"))
        await store.users.remove("ann")
        assert await valid(store, own, *secrets) == [False, False, False, False]
        assert await store.tokens.of_user("bob") == []
        assert await store.sessions.of_user("ann") == []
        assert await sweep(store) == {}

    on_store(body)


def test_a_sweep_does_not_touch_a_consistent_hub(on_store):
    async def body(store):
        await lab(store)
        await store.groups.add(Group(name="x}:{y"))
        await store.shares.grant(share_of(group="x}:{y"))
        await store.shares.grant(share_of("", user="bob"))  # the default server, before its first start
        await store.services.add(Service(name="wiki", id="1"))
        await store.tokens.issue(Token(id="w", service="wiki", scopes=(), created=OLD))
        await store.tokens.issue(Token(id="c", service="culler", scopes=(), created=OLD))  # configured
        await store.tokens.issue(Token(id="b", user="bob", scopes=(), created=OLD, bound_to="service:wiki"))
        await store.sessions.open(session_of("bob"))
        before = sorted([name for names in [page async for page in store.redis.scan("towpath:*")] for name in names])
        assert await store.orphans.sweep(services=("culler",), now=time.time()) == {}
        after = sorted([name for names in [page async for page in store.redis.scan("towpath:*")] for name in names])
        assert set(before) == set(after)

    on_store(body)


def test_a_sweep_removes_what_a_crash_left_of_a_removed_server(on_store):
    async def body(store):
        _, secrets = await lab(store)
        await store.redis.call("HDEL", keys.servers("ann"), "lab")  # and then the process was killed
        swept = await sweep(store)
        assert await valid(store, *secrets) == [False, False, False]
        assert await store.shares.of("bob") == []
        assert {kind: count for kind, count in swept.items() if count} == {"token": 2, "shares": 1, "share-code": 1}
        assert await sweep(store) == {}

    on_store(body)


def test_a_sweep_revokes_the_tokens_of_an_ended_attempt(on_store):
    async def body(store):
        server, secrets = await lab(store)
        await store.servers.save(replace(server, attempt=OTHER))
        current = await store.tokens.issue(replace(client_token("bob", attempt=OTHER), id="current"))
        await sweep(store)
        assert await valid(store, *secrets, current) == [False, False, True, True]

    on_store(body)


def test_a_sweep_removes_what_a_crash_left_of_a_removed_user_group_or_service(on_store):
    async def body(store):
        await lab(store)
        await store.groups.add(Group(name="g"))
        await store.shares.grant(share_of(group="g"))
        await store.services.add(Service(name="wiki"))
        secrets = [
            await store.tokens.issue(Token(id="own", user="bob", scopes=("inherit",), created=OLD)),
            await store.tokens.issue(Token(id="w", service="wiki", scopes=("inherit",), created=OLD)),
            await store.tokens.issue(Token(id="c", user="ann", scopes=(), created=OLD, bound_to="service:wiki")),
        ]
        await store.sessions.open(replace(session_of("bob"), created=OLD))
        for key in (keys.user("bob"), keys.group("g"), keys.SERVICES_ALL):
            await store.redis.call("DEL", key)
        await sweep(store)
        assert await valid(store, *secrets) == [False, False, False]
        assert await store.shares.of_owner("ann") == []
        await store.users.add(User(name="bob", created=time.time()))  # another user with that name
        assert await store.tokens.of_user("bob") == await store.sessions.of_user("bob") == []
        assert await store.shares.of("bob", "group:g") == []

    on_store(body)


def test_a_sweep_stops_and_then_removes_the_server_of_a_missing_user(on_store):
    async def body(store):
        server, _ = await lab(store)
        await store.redis.call("DEL", keys.user("ann"))
        await sweep(store)
        server = await store.servers.get("ann", "lab")
        assert (server.target, server.removing) == (Target.STOPPED, True)
        assert "ann/lab" in await store.servers.active()  # the controller stops it
        await store.servers.save(replace(server, status=Status.STOPPED))
        await store.servers.settle("ann/lab", (await store.servers.active())["ann/lab"])
        await sweep(store)
        assert await store.servers.get("ann", "lab") is None

    on_store(body)


def test_a_sweep_revokes_an_unlisted_token_and_does_not_touch_one_with_the_same_id(on_store):
    async def body(store):
        await users(store)
        unlisted = await store.tokens.issue(Token(id="x", user="ann", scopes=(), created=OLD))
        listed = await store.tokens.issue(Token(id="x", user="ann", scopes=(), created=OLD))
        await sweep(store)
        assert await valid(store, unlisted, listed) == [False, True]
        assert [token.id for token in await store.tokens.of_user("ann")] == ["x"]

    on_store(body)


def test_a_sweep_does_not_touch_what_may_be_about_to_be_created(on_store):
    async def body(store):
        await users(store)
        now = time.time()
        # As when the controller adopts a job after a loss of the store: the token first, then the record.
        secret = await store.tokens.issue(replace(app_token(), created=now))
        await store.shares.grant(replace(share_of(user="bob"), created=now))
        assert await sweep(store) == {}
        assert await valid(store, secret) == [True]
        assert len(await store.shares.of("bob")) == 1

    on_store(body)


def test_an_expired_token_leaves_the_list_of_its_server(on_store):
    async def body(store):
        await users(store)
        await store.servers.save(server_of("ann", "lab"))
        await store.redis.call("HSET", keys.bound("ann/lab"), "bob/gone", f"{'a' * 32}:{'0' * 64}")
        await sweep(store)
        assert await store.redis.call("EXISTS", keys.bound("ann/lab")) == 0

    on_store(body)
