"""The mirror on real servers: what a worker knows, how soon, and what it does while the store is unavailable."""

import asyncio
import contextlib
import signal
import time

import pytest
from msgspec.structs import replace

from state.errors import NotAUserError, StateUnavailableError
from state.mirror import identities
from state.mirror.identities import Identities
from state.mirror.mirror import Mirror
from state.records.models import Endpoint, Role, Route, Server, Service, Session, Status, Target, Token, User
from state.rights.roles import Roles
from state.rights.scopes import may
from state.store.all import Store
from state.store.credentials import digest
from tests.conftest import StoreCluster, run, until

ATTEMPT = "a" * 32


@contextlib.asynccontextmanager
async def mirrored(url, **options):
    """A store with one user, and a mirror that follows it."""
    store = await Store.open(url)
    await store.users.add(User(name="ann", created=1.0))
    mirror = Mirror(store, **{"grace": 60, **options})
    await mirror.start()
    try:
        yield store, mirror
    finally:
        await mirror.stop()
        await store.close()


def route_of(user, name="", *, port=1):
    prefix = f"/user/{user}/{name}/" if name else f"/user/{user}/"
    endpoint = Endpoint(kind="tcp", host="127.0.0.1", port=port)
    return Route(prefix=prefix, user=user, name=name, attempt=ATTEMPT, endpoint=endpoint)


def session_of(user, *, lasts=60.0):
    return Session(id="s1", user=user, created=time.time(), expires=time.time() + lasts)


def token_of(user, *scopes, lasts=None):
    now = time.time()
    expires = None if lasts is None else now + lasts
    return Token(id="t1", user=user, scopes=scopes or ("inherit",), created=now, expires=expires)


def test_a_route_is_added_changed_and_removed_immediately(store_url):
    async def main():
        async with mirrored(store_url) as (store, mirror):
            changes = []
            mirror.on_route_change(lambda prefix, route: changes.append((prefix, route)))
            assert mirror.lookup("ann", "lab") is None
            await store.feed.set_route(route_of("ann"))
            await store.feed.set_route(route_of("ann", "lab"))
            await until(lambda: len(changes) == 2)
            assert mirror.lookup("ann", "lab") == route_of("ann", "lab")
            assert mirror.lookup("ann", "") == mirror.lookup("ann", "tree") == route_of("ann")
            assert mirror.lookup("bob", "") is None
            await store.feed.set_route(route_of("ann", "lab", port=2))
            await store.feed.drop_route("/user/ann/")
            await until(lambda: len(changes) == 4)
            assert mirror.lookup("ann", "lab").endpoint.port == 2
            assert mirror.lookup("ann", "tree") is None
            assert changes[2:] == [("/user/ann/lab/", route_of("ann", "lab", port=2)), ("/user/ann/", None)]

    run(main())


def test_a_mirror_that_starts_late_or_misses_events_has_the_whole_table(store_url):
    async def main():
        async with mirrored(store_url) as (store, mirror):
            await store.feed.set_route(route_of("ann"))
            await until(lambda: mirror.lookup("ann", ""))
            late = Mirror(store, grace=60)
            await late.start()
            assert late.lookup("ann", "") == route_of("ann")
            await late.stop()
            # the log is trimmed while the reader is behind: it reads everything again
            await store.redis.call(
                "HSET", "towpath:{feed}:routes", "/user/bob/", await _encoded(store, route_of("bob"))
            )
            await store.redis.call("INCRBY", "towpath:{feed}:number", 5)
            await store.feed.set_route(route_of("carl"))
            await until(lambda: mirror.lookup("bob", "") and mirror.lookup("carl", ""))
            # everything is lost: a new epoch, and removed routes are removed here too
            await store.redis.call("DEL", *[f"towpath:{{feed}}:{key}" for key in ("epoch", "number", "routes", "log")])
            await store.feed.set_route(route_of("dora"))
            await until(lambda: mirror.lookup("dora", "") and not mirror.lookup("ann", ""), seconds=30)

    run(main())


async def _encoded(store, route):
    await store.feed.set_route(route)
    found = await store.redis.call("HGET", "towpath:{feed}:routes", route.prefix)
    await store.feed.drop_route(route.prefix)
    return found


def test_a_session_is_cached_and_signing_out_reaches_every_worker(store_url):
    async def main():
        async with mirrored(store_url) as (store, mirror), mirrored(store_url) as (_, other):
            ended = []
            other.on_revoked(lambda digests, user: ended.append((digests, user)))
            ticket = digest(await store.sessions.open(session_of("ann")))
            assert mirror.peek(ticket) is None
            for one in (mirror, other):
                identity = await one.identify_session(ticket)
                assert (identity.user.name, identity.session.id, identity.token) == ("ann", "s1", None)
                assert one.peek(ticket) is identity
                assert await one.identify_token(ticket) is None
            await store.sessions.close(ticket)
            await until(lambda: ended)
            assert ended == [(frozenset({ticket}), "")]
            await until(lambda: mirror.peek(ticket) is None and other.peek(ticket) is None)
            assert await other.identify_session(ticket) is None

    run(main())


def test_a_token_has_its_own_scopes_and_never_more_than_its_user_has_now(store_url):
    async def main():
        async with mirrored(store_url) as (store, mirror):
            await store.users.add(User(name="root", admin=True, created=1.0))
            key = digest(await store.tokens.issue(token_of("root", "admin:users", "shutdown")))
            identity = await mirror.identify_token(key)
            assert {"shutdown", "delete:users"} <= identity.scopes
            assert "proxy" not in identity.scopes
            await store.users.save(replace(await store.users.get("root"), admin=False))
            await until(lambda: mirror.peek(key) is None)
            assert not {"shutdown", "delete:users"} & (await mirror.identify_token(key)).scopes
            await store.users.remove("root")
            await until(lambda: mirror.peek(key) is None)
            assert await mirror.identify_token(key) is None

    run(main())


def test_an_expired_credential_is_rejected_from_the_cache_and_its_end_is_reported(store_url):
    async def main():
        async with mirrored(store_url) as (store, mirror):
            ended = set()
            mirror.on_revoked(lambda digests, user: ended.update(digests))
            key = digest(await store.tokens.issue(token_of("ann", lasts=0.5)))
            ticket = digest(await store.sessions.open(session_of("ann", lasts=0.5)))
            assert await mirror.identify_token(key)
            assert await mirror.identify_session(ticket)
            await until(lambda: mirror.peek(key) is None and mirror.peek(ticket) is None)
            assert await mirror.identify_token(key) is None
            assert await mirror.identify_session(ticket) is None
            await until(lambda: ended == {key, ticket})

    run(main())


def test_a_flood_of_unknown_credentials_does_not_reach_the_store(store_url, monkeypatch):
    monkeypatch.setattr(identities, "UNKNOWN_LIMIT", 50)

    async def main():
        async with mirrored(store_url) as (store, mirror):
            asked = []
            real = store.sessions.get

            async def counted(key):
                asked.append(key)
                return await real(key)

            store.sessions.get = counted
            for _ in range(20):
                assert await mirror.identify_session("0" * 64) is None
            assert len(asked) == 1
            assert await asyncio.gather(*[mirror.identify_session("1" * 64) for _ in range(20)]) == [None] * 20
            assert len(asked) == 2
            for number in range(200):
                await mirror.identify_session(f"{number:064x}")
            assert len(mirror._identities._unknown) <= 50
            assert len(mirror._identities._known) == 0

    run(main())


def test_looking_up_a_token_as_a_session_does_not_hide_the_token(store_url):
    async def main():
        async with mirrored(store_url) as (store, mirror):
            key = digest(await store.tokens.issue(token_of("ann")))
            assert await mirror.identify_session(key) is None
            assert (await mirror.identify_token(key)).token.id == "t1"
            assert await mirror.identify_session(key) is None

    run(main())


def test_the_cache_is_bounded_and_drops_the_least_recently_used(store_url, monkeypatch):
    monkeypatch.setattr(identities, "KNOWN_LIMIT", 3)

    async def main():
        store = await Store.open(store_url)
        await store.users.add(User(name="ann", created=1.0))
        now = [time.time()]
        cache = Identities(store, lambda digests, user: None, lifetime=3600, clock=lambda: now[0])
        tickets = [digest(await store.sessions.open(session_of("ann"))) for _ in range(4)]
        for ticket in tickets[:3]:
            now[0] += 1
            await cache.identify(ticket, session=True)
        now[0] += 1
        assert cache.peek(tickets[0])
        await cache.identify(tickets[3], session=True)
        assert [cache.peek(ticket) is not None for ticket in tickets] == [True, False, True, True]
        await store.close()

    run(main())


def test_a_used_session_is_extended_and_a_lost_one_ends_within_the_interval(store_url):
    async def main():
        store = await Store.open(store_url)
        await store.users.add(User(name="ann", created=1.0))
        now = [time.time()]
        ended = []
        cache = Identities(store, lambda digests, user: ended.append(digests), lifetime=10_000, clock=lambda: now[0])
        ticket = digest(await store.sessions.open(session_of("ann", lasts=10_000)))
        first = (await cache.identify(ticket, session=True)).session.expires
        now[0] += 31
        assert cache.peek(ticket)
        await cache.revalidate()
        assert (await store.sessions.get(ticket)).expires == first  # too little to be worth a write
        now[0] += 1000
        assert cache.peek(ticket)
        await cache.revalidate()
        slid = (await store.sessions.get(ticket)).expires
        assert slid == pytest.approx(first + 1031, abs=2)
        assert cache.peek(ticket).session.expires == slid
        now[0] += 1000
        await cache.revalidate()
        assert (await store.sessions.get(ticket)).expires == slid  # not used since
        await store.redis.call("DEL", f"towpath:{{s:{ticket}}}:session")  # it ends without an event
        now[0] += 31
        assert cache.peek(ticket)
        await cache.revalidate()
        assert cache.peek(ticket) is None
        assert ended == [frozenset({ticket})]
        await store.close()

    run(main())


def test_a_read_that_was_under_way_when_the_session_ended_is_discarded(store_url):
    async def main():
        async with mirrored(store_url) as (store, mirror):
            ticket = digest(await store.sessions.open(session_of("ann")))
            real = store.users.gather
            reached, go_on = asyncio.Event(), asyncio.Event()

            async def slow(names):
                users = await real(names)
                reached.set()
                await go_on.wait()
                return users

            store.users.gather = slow
            asking = asyncio.create_task(mirror.identify_session(ticket))
            await reached.wait()
            ended = []
            mirror.on_revoked(lambda digests, user: ended.append(digests))
            await store.sessions.close(ticket)
            await until(lambda: ended)
            go_on.set()
            assert await asking is None
            assert mirror.peek(ticket) is None

    run(main())


def test_activity_and_token_use_are_written_at_stop(store_url):
    async def main():
        async with mirrored(store_url) as (store, mirror):
            server = Server(
                user="ann",
                target=Target.READY,
                status=Status.REQUESTED,
                attempt=ATTEMPT,
                profile="p",
                cluster="c",
                requested=1.0,
            )
            await store.servers.save(server)
            key = digest(await store.tokens.issue(token_of("ann")))
            before = time.time()
            for _ in range(100):
                mirror.note_activity("ann", "")
                mirror.note_token_use(key)
            await mirror.stop()
            user, _, activity = await store.users.get_with_servers("ann")
            assert activity[""] >= before
            assert user.last_activity == activity[""]
            assert (await store.tokens.get(key)).last_activity >= before

    run(main())


def test_a_user_of_the_hub_is_active_and_their_servers_are_not(store_url):
    """As in JupyterHub, whose idle culler would otherwise delete users who start no servers."""

    async def main():
        async with mirrored(store_url) as (store, mirror):
            before = time.time()
            mirror.note_user("ann")
            mirror.note_user("nobody")
            await mirror.stop()
            user, _, activity = await store.users.get_with_servers("ann")
            assert user.last_activity >= before
            assert activity == {}
            assert await store.users.get("nobody") is None

    run(main())


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["valkey", "redis"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_known_data_is_used_while_the_store_is_unavailable_and_refreshed_afterwards(make_store_server, kind, how):
    server = make_store_server(kind)

    async def main():
        async with mirrored(server.url, grace=2.0) as (store, mirror):
            await store.feed.set_route(route_of("ann"))
            ticket = digest(await store.sessions.open(session_of("ann")))
            unseen = digest(await store.sessions.open(session_of("ann")))
            await mirror.identify_session(ticket)
            await until(lambda: mirror.lookup("ann", ""))
            assert mirror.fresh
            assert not mirror.away
            server.kill(how)
            await until(lambda: mirror.away)
            assert mirror.fresh
            assert mirror.lookup("ann", "") == route_of("ann")
            assert mirror.peek(ticket).user.name == "ann"
            assert await mirror.identify_session(ticket) is mirror.peek(ticket)
            with pytest.raises(StateUnavailableError):
                await mirror.identify_session(unseen)
            with pytest.raises(StateUnavailableError):
                await store.users.get("ann")
            await until(lambda: not mirror.fresh)
            mirror.note_activity("ann", "")
            server.start()
            await until(lambda: mirror.fresh and not mirror.away)
            assert (await mirror.identify_session(unseen)).user.name == "ann"
            await store.feed.set_route(route_of("bob"))
            await until(lambda: mirror.lookup("bob", ""))
            assert mirror.lookup("ann", "") == route_of("ann")

    run(main())


@pytest.mark.faults
def test_a_hanging_store_is_detected_and_used_again(make_store_server):
    server = make_store_server("valkey")

    async def main():
        async with mirrored(server.url) as (store, mirror):
            server.process.send_signal(signal.SIGSTOP)
            try:
                with pytest.raises(StateUnavailableError):
                    await store.users.get("ann")
                await until(lambda: mirror.away)
            finally:
                server.process.send_signal(signal.SIGCONT)
            await until(lambda: not mirror.away)
            assert (await store.users.get("ann")).name == "ann"

    run(main())


@pytest.mark.faults
def test_a_worker_that_starts_without_the_store_is_not_fresh_until_it_is_available(make_store_server):
    server = make_store_server("valkey")

    async def main():
        store = await Store.open(server.url)
        await store.feed.set_route(route_of("ann"))
        server.kill()
        with pytest.raises(StateUnavailableError):
            await Store.open(server.url)
        mirror = Mirror(store, grace=600)
        await mirror.start()
        assert not mirror.fresh
        server.start()
        await until(lambda: mirror.fresh)
        assert mirror.lookup("ann", "") == route_of("ann")
        await mirror.stop()
        await store.close()

    run(main())


def test_a_failing_listener_and_an_unreadable_record_do_not_stop_the_mirror(store_url, caplog):
    async def main():
        async with mirrored(store_url) as (store, mirror):

            def fails(prefix, route):
                raise ValueError(prefix)

            mirror.on_route_change(fails)
            await store.feed.set_route(route_of("ann"))
            await until(lambda: mirror.lookup("ann", ""))
            broken = "towpath:{feed}:routes", "/user/x/", "{"
            await store.redis.call("HSET", *broken)
            await store.redis.call("INCRBY", "towpath:{feed}:number", 5)
            await store.feed.set_route(route_of("bob"))
            await until(lambda: mirror.lookup("bob", ""))  # the unreadable one is set aside
            assert "A listener of the mirror failed" in caplog.text
            await store.redis.call("HDEL", *broken[:2])

    run(main())


def test_a_cancelled_wait_does_not_count_as_a_lost_connection(store_url):
    async def main():
        async with mirrored(store_url) as (store, _):
            before = store.redis.losses
            waiting = asyncio.create_task(store.servers.events("ann", "", timeout=20))
            await asyncio.sleep(0.05)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert await store.servers.events("ann", "", timeout=0.01) == []
            assert store.redis.losses == before

    run(main())


@pytest.mark.faults
def test_a_recovered_cluster_is_used_again(make_store_server):
    cluster = StoreCluster.form(make_store_server)

    async def main():
        async with mirrored(cluster.url, grace=1.0) as (store, mirror):
            await store.feed.set_route(route_of("ann"))
            await until(lambda: mirror.lookup("ann", ""))
            for server in cluster.servers:
                server.kill()
            await until(lambda: mirror.away)
            for user in ("ann", "bob", "carl", "dora"):
                with pytest.raises(StateUnavailableError):
                    await store.users.get(user)
            for server in cluster.servers:
                server.start()
            await until(lambda: not mirror.away, seconds=60)

            async def back():
                with contextlib.suppress(StateUnavailableError):
                    return await store.users.get("ann")

            assert (await until(back)).name == "ann"
            assert mirror.lookup("ann", "") == route_of("ann")

    run(main())


# --- services, roles and groups -------------------------------------------------------------------------------------
ROLES = Roles(
    [Role(name="teacher", scopes=("access:servers!group=class", "read:users:name!group=class"), groups=("staff",))],
    [Service(name="culler", scopes=("list:users",), configured=True)],
)


def test_a_configured_service_is_identified_by_its_token_without_the_store(store_url):
    async def main():
        options = {"roles": ROLES, "service_digests": {"culler": digest("secret")}}
        async with mirrored(store_url, **options) as (store, mirror):
            identity = await mirror.identify_token(digest("secret"))
            assert (identity.kind, identity.key, identity.admin) == ("service", "service:culler", False)
            assert may(identity.scopes, "list:users")
            assert mirror.peek(digest("secret")) is identity
            assert await mirror.identify_session(digest("secret")) is None
            with pytest.raises(NotAUserError):
                _ = identity.user

    run(main())


def test_a_token_of_a_service_from_the_api_ends_with_the_service(store_url):
    async def main():
        async with mirrored(store_url, roles=ROLES) as (store, mirror):
            await store.services.add(Service(name="extra", scopes=("read:hub",)))
            key = digest(await store.tokens.issue(Token(id="t", service="extra", scopes=("inherit",), created=1.0)))
            identity = await mirror.identify_token(key)
            assert (identity.name, identity.service.scopes) == ("extra", ("read:hub",))
            await store.services.remove("extra")
            await store.feed.revoke(user="service:extra")
            await until(lambda: mirror.peek(key) is None)
            assert await mirror.identify_token(key) is None

    run(main())


def test_rights_through_a_group_follow_its_members_within_a_second(store_url):
    async def main():
        async with mirrored(store_url, roles=ROLES) as (store, mirror):
            ann = await store.users.get("ann")
            await store.users.add(User(name="bob", created=1.0, groups=("class",)))
            ticket = digest(await store.sessions.open(session_of("ann")))
            token = digest(await store.tokens.issue(token_of("ann", "inherit")))

            async def reaches(key, who, *, session):
                identity = await (mirror.identify_session(key) if session else mirror.identify_token(key))
                return may(identity.access, "access:servers", server=f"{who}/")

            assert not await reaches(ticket, "bob", session=True)
            await store.users.save(replace(ann, groups=("staff",)))
            await until(lambda: reaches(ticket, "bob", session=True), seconds=1)
            assert await reaches(token, "bob", session=False)
            assert not await reaches(ticket, "carl", session=True)
            identity = mirror.peek(ticket)
            assert "access:servers!user=bob" not in identity.scopes
            # bob leaves the class: ann's cached right ends
            await store.users.save(replace(await store.users.get("bob"), groups=()))
            await until(lambda: _no(reaches(ticket, "bob", session=True)), seconds=1)
            assert not await reaches(token, "bob", session=False)

    run(main())


async def _no(answer):
    return not await answer
