"""What the store guarantees on all supported servers: Valkey, Redis 7, a cluster of three masters, and Sentinel."""

import asyncio
import time
from typing import Any

import pytest
from msgspec.structs import replace

from state.errors import ConflictError, FencedError, StateUnavailableError
from state.offer.catalog import Association, Catalog, GpuCount, Grants, Partition
from state.records.audit import Act, AuditFilter, Entry, Outcome
from state.records.models import Endpoint, Event, JobRef, Route, Server, Session, Status, Target, Token, User
from state.store.all import Store
from state.store.credentials import digest
from state.store.feed import FeedGapError, Revoked, RouteGone, RouteSet
from tests.conftest import until

ATTEMPT = "a" * 32


def server_of(user: str, name: str = "", **fields: Any) -> Server:
    return Server(
        **{
            "user": user,
            "name": name,
            "target": Target.READY,
            "status": Status.REQUESTED,
            "attempt": ATTEMPT,
            "profile": "jupyterlab",
            "cluster": "local",
            "requested": 1000.0,
            **fields,
        }
    )


def event_of(message: str) -> Event:
    return Event(attempt=ATTEMPT, time=1000.0, status=Status.REQUESTED, message=message, progress=5)


def route_of(user: str, name: str = "", *, port: int = 1, attempt: str = ATTEMPT) -> Route:
    prefix = f"/user/{user}/{name}/" if name else f"/user/{user}/"
    endpoint = Endpoint(kind="tcp", host="127.0.0.1", port=port)
    return Route(prefix=prefix, user=user, name=name, attempt=attempt, endpoint=endpoint)


def session_of(user: str, number: int = 1, *, lasts: float = 60.0) -> Session:
    now = time.time()
    return Session(id=f"s{number}", user=user, created=now + number, expires=now + lasts)


def token_of(user: str, number: int = 1, *, lasts: float | None = None) -> Token:
    now = time.time()
    expires = None if lasts is None else now + lasts
    return Token(id=f"t{number}", user=user, scopes=("self",), created=now + number, expires=expires)


async def count(results: Any, kind: type[BaseException]) -> tuple[int, int]:
    """Count how many succeeded, and how many raised `kind`. Anything else is raised."""
    done = await asyncio.gather(*results, return_exceptions=True)
    for one in done:
        if isinstance(one, BaseException) and not isinstance(one, kind):
            raise one
    return sum(not isinstance(one, kind) for one in done), sum(isinstance(one, kind) for one in done)


# --- users ------------------------------------------------------------------------------------------------------
def test_a_name_can_be_taken_once_even_in_a_race(on_store):
    async def body(store):
        added = await asyncio.gather(*[store.users.add(User(name="ann", created=float(n))) for n in range(30)])
        assert added.count(True) == 1
        assert await store.users.count() == 1
        assert (await store.users.get("ann")).revision == 1

    on_store(body)


def test_only_one_of_several_simultaneous_changes_of_a_user_succeeds(on_store):
    async def body(store):
        await store.users.add(User(name="ann", created=1.0))
        user = await store.users.get("ann")
        writes = [store.users.save(replace(user, groups=(f"g{n}",))) for n in range(30)]
        assert await count(writes, ConflictError) == (1, 29)
        assert (await store.users.get("ann")).revision == 2

    on_store(body)


def test_a_users_cached_identity_is_checked_again_only_after_a_change_of_rights(on_store):
    async def body(store):
        await store.users.add(User(name="ann", created=1.0))
        user = await store.users.get("ann")
        start = await store.feed.snapshot()
        user = await store.users.save(replace(user, last_activity=5.0))
        assert await store.feed.read(start.epoch, start.number, timeout=0) == []
        user = await store.users.save(replace(user, admin=True))
        user = await store.users.save(replace(user, groups=("g",)))
        await store.users.remove("ann")
        events = await store.feed.read(start.epoch, start.number, timeout=0)
        assert [event.user for event in events] == ["ann", "ann", "group:g", "ann", "group:g"]

    on_store(body)


def test_a_removed_user_cannot_be_saved_again(on_store):
    async def body(store):
        with pytest.raises(ConflictError):
            await store.users.save(User(name="ann", created=1.0))

    on_store(body)


def test_users_are_listed_in_alphabetical_order_page_by_page(on_store):
    async def body(store):
        for name in ("carl", "ann", "bob", "dora"):
            await store.users.add(User(name=name, created=1.0))
        assert await store.users.names() == ["ann", "bob", "carl", "dora"]
        assert await store.users.names(offset=1, limit=2) == ["bob", "carl"]
        assert await store.users.names(offset=9) == []
        assert await store.users.names(limit=0) == []

    on_store(body)


def test_a_user_is_read_with_servers_and_activity_in_one_round_trip(on_store):
    async def body(store):
        await store.users.add(User(name="ann", created=1.0))
        for name in ("zeta", "", "lab"):
            await store.servers.save(server_of("ann", name))
        await store.servers.touch({("ann", "lab"): 500.25, ("ann", ""): 400.5})
        user, servers, activity = await store.users.get_with_servers("ann")
        assert [server.name for server in servers] == ["", "lab", "zeta"]
        assert activity == {"lab": 500.25, "": 400.5}
        assert user.last_activity == 500.25
        assert (await store.users.get("ann")).last_activity == 500.25
        many = await store.users.many(["ann", "nobody"])
        assert [(one[0].name, len(one[1])) for one in many] == [("ann", 3)]
        assert await store.users.get_with_servers("nobody") is None

    on_store(body)


def test_a_removed_user_leaves_nothing_behind(on_store, backend):
    async def body(store):
        await store.users.add(User(name="ann", created=1.0))
        await store.servers.save(
            server_of("ann", "lab", status=Status.STOPPED, target=Target.STOPPED), event=event_of("x")
        )
        await store.servers.touch({("ann", "lab"): 5.0})
        ticket = await store.sessions.open(session_of("ann"))
        secret = await store.tokens.issue(token_of("ann"))
        assert await store.users.remove("ann") is True
        assert await store.users.remove("ann") is False
        assert await store.sessions.get(digest(ticket)) is None
        assert await store.tokens.get(digest(secret)) is None
        assert await store.users.names() == []
        servers = getattr(backend, "servers", [backend])
        left = b"".join(server.command("KEYS", "towpath:{[ust]:*") for server in servers)
        assert b"towpath" not in left

    on_store(body)


# --- servers ----------------------------------------------------------------------------------------------------
def test_only_one_of_several_simultaneous_saves_of_a_server_succeeds_and_leaves_an_event(on_store):
    async def body(store):
        saves = [store.servers.save(server_of("ann"), event=event_of(f"{n}")) for n in range(30)]
        assert await count(saves, ConflictError) == (1, 29)
        assert len(await store.servers.events("ann", "")) == 1
        saved = await store.servers.get("ann", "")
        assert saved.revision == 1
        changes = [store.servers.save(replace(saved, display_name=f"{n}")) for n in range(30)]
        assert await count(changes, ConflictError) == (1, 29)
        assert (await store.servers.get("ann", "")).revision == 2

    on_store(body)


def test_a_record_is_read_as_it_was_saved(on_store):
    async def body(store):
        server = server_of(
            "a.b@c+d",
            "lab-1",
            choices={"gpu": True, "cores": 4, "text": 'ü"\\n', "none": None, "list": []},
            job=JobRef(cluster="local", native_id="7"),
            endpoint=Endpoint(kind="unix", path="/tmp/x y"),
        )
        saved = await store.servers.save(server)
        assert await store.servers.get("a.b@c+d", "lab-1") == saved == replace(server, revision=1)
        assert await store.servers.of_user("a.b@c+d") == [saved]
        assert await store.servers.many(["a.b@c+d/lab-1", "no/body"]) == {"a.b@c+d/lab-1": saved}
        assert await store.servers.many([]) == {}

    on_store(body)


def test_a_former_leader_is_fenced_off_and_other_writers_are_not(on_store):
    async def body(store):
        saved = await store.servers.save(server_of("ann"), fence=3)
        assert saved.fence == 3
        with pytest.raises(FencedError):
            await store.servers.save(saved, fence=2)
        saved = await store.servers.save(saved)
        assert saved.fence == 3
        saved = await store.servers.save(saved, fence=3)
        assert (await store.servers.save(saved, fence=4)).fence == 4

    on_store(body)


def test_a_removed_server_takes_its_events_and_activity_along(on_store):
    async def body(store):
        await store.users.add(User(name="ann", created=1.0))
        saved = await store.servers.save(server_of("ann", "lab"), event=event_of("x"))
        await store.servers.touch({("ann", "lab"): 5.0})
        with pytest.raises(ConflictError):
            await store.servers.remove(replace(saved, revision=7))
        await store.servers.remove(saved)
        assert await store.servers.get("ann", "lab") is None
        assert await store.servers.events("ann", "lab") == []
        assert await store.servers.activity("ann") == {}
        with pytest.raises(ConflictError):
            await store.servers.remove(saved)

    on_store(body)


def test_a_mark_made_while_the_controller_works_is_not_settled(on_store):
    async def body(store):
        saved = await store.servers.save(server_of("ann"))
        seen = await store.servers.active()
        assert list(seen) == ["ann/"]
        await store.servers.save(saved)
        assert await store.servers.settle("ann/", seen["ann/"]) is False
        again = await store.servers.active()
        assert again["ann/"] > seen["ann/"]
        settled = await asyncio.gather(*[store.servers.settle("ann/", again["ann/"]) for _ in range(10)])
        assert settled.count(True) == 1
        assert await store.servers.active() == {}

    on_store(body)


def test_an_ended_server_is_not_marked_and_does_not_wake_the_controller(on_store):
    async def body(store):
        position, _ = await store.servers.work("$", timeout=0)
        await store.servers.save(server_of("ann", status=Status.FAILED, target=Target.STOPPED))
        assert await store.servers.active() == {}
        assert await store.servers.work(position, timeout=0) == (position, [])

    on_store(body)


def test_a_save_over_an_active_record_can_skip_the_mark_and_the_wake_up(on_store):
    async def body(store):
        saved = await store.servers.save(server_of("ann"))
        seen = await store.servers.active()
        position, _ = await store.servers.work("$", timeout=0)
        saved = await store.servers.save(saved, event=event_of("x"), marked=True, wake=False)
        assert await store.servers.active() == seen
        assert await store.servers.work(position, timeout=0) == (position, [])
        await store.servers.save(saved, marked=True)
        assert await store.servers.active() == seen
        assert (await store.servers.work(position, timeout=0))[1] == ["ann/"]

    on_store(body)


def test_the_controller_is_woken_by_a_save_and_misses_none_between_two_waits(on_store):
    async def body(store):
        position, keys = await store.servers.work("$", timeout=0)
        assert keys == []
        waiting = asyncio.create_task(store.servers.work(position, timeout=20))
        await asyncio.sleep(0)
        await store.servers.save(server_of("ann"))
        position, keys = await waiting
        assert keys == ["ann/"]
        for key in ("bob/", "carl/lab", "bob/"):
            await store.servers.wake(key)
        position, keys = await store.servers.work(position, timeout=0)
        assert keys == ["bob/", "carl/lab"]
        assert await store.servers.work(position, timeout=0.05) == (position, [])

    on_store(body)


def test_events_can_be_read_from_any_id_and_waited_for(on_store):
    async def body(store):
        first = await store.servers.tell("ann", "", event_of("one"))
        waiting = asyncio.create_task(store.servers.events("ann", "", after=first, timeout=20))
        await asyncio.sleep(0)
        second = await store.servers.tell("ann", "", event_of("two"))
        (event,) = await waiting
        assert (event.id, event.message) == (second, "two")
        everything = await store.servers.events("ann", "")
        assert [one.message for one in everything] == ["one", "two"]
        assert [one.id for one in await store.servers.events("ann", "", limit=1)] == [first]
        assert await store.servers.events("ann", "", after=second, timeout=0.05) == []
        for nonsense in ("", "x", "-", "$", ">", "9" * 40, "1-2-3", "0\r\n"):
            assert await store.servers.events("ann", "", after=nonsense) == everything

    on_store(body)


def test_many_can_wait_at_once_without_blocking_others(on_store):
    async def body(store):
        waiters = [asyncio.create_task(store.servers.events("ann", "", timeout=20)) for _ in range(60)]
        await store.users.add(User(name="ann", created=1.0))
        assert await store.users.count() == 1
        await store.servers.tell("ann", "", event_of("now"))
        assert [len(events) for events in await asyncio.gather(*waiters)] == [1] * 60

    on_store(body)


def test_the_latest_activity_counts_and_creates_neither_users_nor_servers(on_store):
    async def body(store):
        await store.users.add(User(name="ann", created=1.0))
        await store.servers.save(server_of("ann"))
        await store.servers.touch({("ann", ""): 100.125, ("ann", "gone"): 90.0, ("nobody", ""): 50.0})
        await store.servers.touch({("ann", ""): 99.0})
        assert await store.servers.activity("ann") == {"": 100.125}
        assert await store.servers.activity("nobody") == {}
        assert (await store.users.get("ann")).last_activity == 100.125
        await store.servers.touch({})

    on_store(body)


# --- credentials ------------------------------------------------------------------------------------------------
def test_a_session_expires_and_leaves_the_list(on_store):
    async def body(store):
        short = digest(await store.sessions.open(session_of("ann", 1, lasts=0.3)))
        long = digest(await store.sessions.open(session_of("ann", 2)))
        assert [one.id for one in await store.sessions.of_user("ann")] == ["s1", "s2"]

        async def over():
            return await store.sessions.get(short) is None

        await until(over)
        assert [one.id for one in await store.sessions.of_user("ann")] == ["s2"]
        assert (await store.sessions.get(long)).id == "s2"

    on_store(body)


def test_a_session_is_only_extended_and_never_restored(on_store):
    async def body(store):
        ticket = digest(await store.sessions.open(session_of("ann", lasts=50)))
        before = await store.sessions.get(ticket)
        await store.sessions.extend(ticket, before.expires + 100)
        await store.sessions.extend(ticket, before.expires - 10)
        assert (await store.sessions.get(ticket)).expires == before.expires + 100
        assert await store.sessions.close(ticket) is True
        assert await store.sessions.close(ticket) is False
        await store.sessions.extend(ticket, before.expires + 500)
        assert await store.sessions.get(ticket) is None

    on_store(body)


def test_signing_out_everywhere_ends_all_sessions_with_one_event(on_store):
    async def body(store):
        tickets = [digest(await store.sessions.open(session_of("ann", n))) for n in range(40)]
        other = digest(await store.sessions.open(session_of("bob")))
        before = await store.feed.snapshot()
        assert await store.sessions.close_all("ann") == 40
        assert await store.sessions.close_all("ann") == 0
        assert await store.sessions.of_user("ann") == []
        assert await store.sessions.get(other) is not None
        (event,) = await store.feed.read(before.epoch, before.number, timeout=0)
        assert set(event.digests) == set(tickets)

    on_store(body)


def test_every_end_of_a_credential_is_published_immediately(on_store):
    """Workers do not ask for each request: a missed event would leave a credential valid until the next check."""
    ends = {
        "a session": lambda store, ticket: store.sessions.close(ticket),
        "a session by its id": lambda store, _: store.sessions.end("ann", "s1"),
        "all sessions": lambda store, _: store.sessions.close_all("ann"),
        "a token": lambda store, _: store.tokens.revoke("ann", "t1"),
        "all tokens": lambda store, _: store.tokens.revoke_all("ann"),
        "a user": lambda store, _: store.users.remove("ann"),
    }

    async def body(store):
        for what, end in ends.items():
            await store.users.add(User(name="ann", created=1.0))
            ticket = digest(await store.sessions.open(session_of("ann", 1)))
            token = digest(await store.tokens.issue(token_of("ann", 1)))
            before = await store.feed.snapshot()
            await end(store, ticket)
            told = await store.feed.read(before.epoch, before.number, timeout=0)
            over = {one for event in told for one in event.digests}
            there = {ticket: store.sessions.get, token: store.tokens.get}
            assert over == {one for one, get in there.items() if await get(one) is None}, what
            assert over, what
            await store.users.remove("ann")

    on_store(body)


def test_tokens_expire_and_are_listed_revoked_and_marked_as_used(on_store):
    async def body(store):
        short = digest(await store.tokens.issue(token_of("ann", 1, lasts=0.3)))
        secret = await store.tokens.issue(token_of("ann", 2))
        third = digest(await store.tokens.issue(token_of("ann", 3, lasts=60)))

        async def over():
            return await store.tokens.get(short) is None

        await until(over)
        assert [one.id for one in await store.tokens.of_user("ann")] == ["t2", "t3"]
        await store.tokens.used({digest(secret): 77.5, third: 78.0, "0" * 64: 1.0})
        await store.tokens.used({digest(secret): 70.0})
        assert [one.last_activity for one in await store.tokens.of_user("ann")] == [77.5, 78.0]
        assert await store.tokens.revoke("bob", "t2") is False
        assert await store.tokens.revoke("ann", "t2") is True
        assert await store.tokens.revoke("ann", "t2") is False
        assert await store.tokens.get(digest(secret)) is None
        assert await store.tokens.revoke_all("ann") == 1

    on_store(body)


def test_marking_a_token_as_used_keeps_its_time_to_live(on_store):
    async def body(store):
        key = digest(await store.tokens.issue(token_of("ann", 1, lasts=60)))
        await store.tokens.used({key: 5.0})
        assert 0 < await store.redis.call("PTTL", f"towpath:{{t:{key}}}:token") <= 60_000

    on_store(body)


def test_a_link_can_be_used_once_even_in_a_race_and_only_in_time(on_store):
    async def body(store):
        link = await store.links.issue("ann", lifetime=60)
        taken = await asyncio.gather(*[store.links.take(link) for _ in range(30)])
        assert sorted(taken, key=str) == [None] * 29 + ["ann"] or taken.count("ann") == 1
        late = await store.links.issue("ann", lifetime=0.001)
        await asyncio.sleep(0.05)
        assert await store.links.take(late) is None
        assert await store.links.take("") is None

    on_store(body)


def test_no_secret_is_stored(on_store, backend):
    async def body(store):
        ticket = await store.sessions.open(session_of("ann"))
        secret = await store.tokens.issue(token_of("ann"))
        link = await store.links.issue("ann", lifetime=60)
        assert min(len(ticket), len(secret), len(link)) >= 43
        for server in getattr(backend, "servers", [backend]):
            for key in server.command("KEYS", "*").split(b"\r\n")[2::2]:
                for reply in (server.command("GET", key.decode()), server.command("HGETALL", key.decode())):
                    for word in (ticket, secret, link):
                        assert word.encode() not in reply + key

    on_store(body)


# --- feed -------------------------------------------------------------------------------------------------------
def test_changes_are_numbered_without_gaps_and_repetitions_do_not_count(on_store):
    async def body(store):
        start = await store.feed.snapshot()
        assert (start.number, start.routes) == (0, ())
        numbers = await asyncio.gather(*[store.feed.set_route(route_of(f"u{n}")) for n in range(30)])
        assert sorted(numbers) == list(range(1, 31))
        assert await store.feed.set_route(route_of("u7")) == 0
        assert await store.feed.drop_route("/user/u7/", attempt="b" * 32) == 0
        assert await store.feed.drop_route("/user/u7/", attempt=ATTEMPT) == 31
        assert await store.feed.drop_route("/user/u7/") == 0
        assert await store.feed.revoke(digests=("d",), user="ann") == 32
        events = await store.feed.read(start.epoch, 0, timeout=0)
        assert [event.number for event in events] == list(range(1, 33))
        assert isinstance(events[0], RouteSet)
        assert events[30] == RouteGone(31, "/user/u7/")
        assert events[31] == Revoked(32, ("d",), "ann")
        now = await store.feed.snapshot()
        assert (now.epoch, now.number, len(now.routes)) == (start.epoch, 32, 29)
        assert await store.feed.route("/user/u7/") is None
        assert await store.feed.route("/user/u8/") == route_of("u8")

    on_store(body)


def test_a_reader_waits_for_the_next_change(on_store):
    async def body(store):
        start = await store.feed.snapshot()
        assert await store.feed.read(start.epoch, 0, timeout=0.05) == []
        waiting = asyncio.create_task(store.feed.read(start.epoch, 0, timeout=20))
        await asyncio.sleep(0)
        await store.feed.set_route(route_of("ann"))
        assert await waiting == [RouteSet(1, route_of("ann"))]

    on_store(body)


def test_a_reader_too_far_behind_or_in_another_epoch_must_read_everything(on_store, backend):
    async def body(store):
        start = await store.feed.snapshot()
        for n in range(5):
            await store.feed.set_route(route_of("ann", port=n + 1))
        await store.redis.call("XTRIM", "towpath:{feed}:log", "MAXLEN", 2)
        with pytest.raises(FeedGapError):
            await store.feed.read(start.epoch, 0, timeout=0)
        assert len(await store.feed.read(start.epoch, 3, timeout=0)) == 2
        with pytest.raises(FeedGapError):
            await store.feed.read("another", 3, timeout=0)
        await store.redis.call("DEL", "towpath:{feed}:log")
        with pytest.raises(FeedGapError):
            await store.feed.read(start.epoch, 3, timeout=0)
        backend.command("FLUSHALL")
        with pytest.raises(FeedGapError):
            await store.feed.read(start.epoch, 5, timeout=0)
        again = await store.feed.snapshot()
        assert (again.number, again.epoch == start.epoch) == (0, False)

    on_store(body)


# --- leases -----------------------------------------------------------------------------------------------------
def test_one_of_many_candidates_leads_and_each_taking_raises_the_token(on_store):
    async def body(store):
        takes = [store.leases.take("controller", f"c{n}", seconds=60) for n in range(20)]
        fences = await asyncio.gather(*takes)
        (leader,) = [n for n, fence in enumerate(fences) if fence is not None]
        assert fences[leader] == 1
        assert await store.leases.renew("controller", f"c{leader}", 1, seconds=60) is True
        assert await store.leases.renew("controller", "other", 1, seconds=60) is False
        assert await store.leases.take("controller", f"c{leader}", seconds=60) == 2
        assert await store.leases.renew("controller", f"c{leader}", 1, seconds=60) is False
        assert await store.leases.release("controller", f"c{leader}", 1) is False
        assert await store.leases.release("controller", f"c{leader}", 2) is True
        assert await store.leases.take("controller", "host:8:b", seconds=60) == 3
        assert await store.leases.take("controller", "host:8:b", seconds=60) == 4

    on_store(body)


def test_a_lease_that_is_not_renewed_becomes_free(on_store):
    async def body(store):
        assert await store.leases.take("controller", "one", seconds=0.2) == 1

        async def taken():
            return await store.leases.take("controller", "two", seconds=60)

        assert await until(taken) == 2
        assert await store.leases.renew("controller", "one", 1, seconds=60) is False

    on_store(body)


def test_a_script_that_the_server_forgot_is_sent_again(on_store, backend):
    async def body(store):
        await store.feed.set_route(route_of("ann"))
        backend.command("SCRIPT", "FLUSH")
        assert await store.feed.set_route(route_of("bob")) == 2

    on_store(body)


def test_an_error_of_the_server_is_translated(on_store):
    async def body(store):
        await store.redis.call("SET", "towpath:{x}", "1")
        with pytest.raises(StateUnavailableError) as caught:
            await store.redis.call("HGET", "towpath:{x}", "field")
        assert "WRONGTYPE" in str(caught.value.__cause__)
        assert "WRONGTYPE" not in str(caught.value)

    on_store(body)


# --- catalogs -----------------------------------------------------------------------------------------------------
def catalog_of(cluster: str = "hpc", **fields: Any) -> Catalog:
    return Catalog(**{"cluster": cluster, "kind": "slurm", "time": 1000.0, **fields})


def grants_of(account: str) -> Grants:
    return Grants(default_account=account, associations=(Association(account=account, qos=("normal",)),))


def test_nothing_is_known_about_a_cluster_before_its_catalog_was_gathered(on_store):
    async def body(store):
        assert await store.catalogs.catalog("hpc") is None
        assert await store.catalogs.grants("hpc", "ann") is None

    on_store(body)


def test_a_catalog_and_its_grants_are_read_as_they_were_saved(on_store):
    async def body(store):
        gpus = (GpuCount(type="a100_1g.5gb", total=7, free=3, per_node=7),)
        catalog = catalog_of(enforced=True, partitions=(Partition(name="gpu", gpus=gpus, qos=()),), notes=("A note.",))
        await store.catalogs.put(catalog, {"ann": grants_of("physics"), "bob": grants_of("bio")}, fence=3)
        assert await store.catalogs.catalog("hpc") == catalog
        assert await store.catalogs.grants("hpc", "ann") == grants_of("physics")
        assert await store.catalogs.grants("hpc", "carl") is None

    on_store(body)


def test_users_without_grants_are_removed(on_store):
    async def body(store):
        await store.catalogs.put(catalog_of(), {"ann": grants_of("a"), "bob": grants_of("b")}, fence=1)
        await store.catalogs.put(catalog_of(), {"bob": grants_of("c")}, fence=1)
        assert await store.catalogs.grants("hpc", "ann") is None
        assert await store.catalogs.grants("hpc", "bob") == grants_of("c")
        await store.catalogs.put(catalog_of(), {}, fence=1)
        assert await store.catalogs.grants("hpc", "bob") is None

    on_store(body)


def test_a_former_leader_can_change_neither_catalog_nor_grants(on_store):
    async def body(store):
        await store.catalogs.put(catalog_of(time=2.0), {"ann": grants_of("new")}, fence=10)
        with pytest.raises(FencedError):
            await store.catalogs.put(catalog_of(time=9.0), {"ann": grants_of("old")}, fence=9)
        assert (await store.catalogs.catalog("hpc")).time == 2.0
        assert await store.catalogs.grants("hpc", "ann") == grants_of("new")

    on_store(body)


def test_clusters_do_not_see_each_other(on_store):
    async def body(store):
        await store.catalogs.put(catalog_of("one"), {"ann": grants_of("a")}, fence=5)
        await store.catalogs.put(catalog_of("two"), {}, fence=1)
        assert (await store.catalogs.catalog("two")).cluster == "two"
        assert await store.catalogs.grants("two", "ann") is None
        assert await store.catalogs.grants("one", "ann") == grants_of("a")

    on_store(body)


def test_grants_of_thousands_of_users_are_saved_at_once(on_store):
    async def body(store):
        await store.catalogs.put(catalog_of(), {f"u{n}": grants_of(f"a{n}") for n in range(12_000)}, fence=1)
        assert await store.catalogs.grants("hpc", "u11999") == grants_of("a11999")

    on_store(body)


# --- the audit ---------------------------------------------------------------------------------------------------
def entry_of(number: int, **fields: Any) -> Entry:
    return Entry(**{"time": 1000.0 + number, "act": Act.SERVER_ACCESS, "who": "carol", "user": "alice", **fields})


def test_the_audit_is_read_newest_first_in_pages_without_gaps(on_store: Any) -> None:
    async def body(store: Store) -> None:
        for number in range(25):
            await store.audit.note(entry_of(number, who="carol" if number % 2 else "bob"))
        first, older = await store.audit.page(AuditFilter(who="bob"), limit=10)
        rest, nothing = await store.audit.page(AuditFilter(who="bob"), before=older, limit=10)
        assert [entry.time - 1000 for entry in first + rest] == list(range(24, -1, -2))
        assert nothing == ""
        assert all(entry.id for entry in first)
        assert (await store.audit.page(AuditFilter(since=1020.0), limit=100))[0][-1].time == 1020.0
        assert await store.audit.page(AuditFilter(who="nobody"), limit=10) == ([], "")

    on_store(body)


def test_the_audit_of_a_user_is_removed_with_them(on_store: Any) -> None:
    async def body(store: Store) -> None:
        await store.users.add(User(name="alice", created=1.0))
        await store.audit.note(entry_of(1))
        await store.audit.note(entry_of(2, outcome=Outcome.REFUSED))
        await store.audit.note(entry_of(3, user=""))
        await store.audit.note(entry_of(4, user="bob"))
        assert [entry.time for entry in await store.audit.of_user("alice")] == [1001.0]
        await store.users.remove("alice")
        await store.audit.note(entry_of(5, act=Act.USER_REMOVED))
        assert await store.audit.of_user("alice") == []
        assert len((await store.audit.page(AuditFilter()))[0]) == 5

    on_store(body)


def test_the_audit_is_trimmed_by_number_and_by_age(on_store: Any) -> None:
    async def body(store: Store) -> None:
        for number in range(20):
            await store.audit.note(entry_of(number))
        assert await store.audit.trim(entries=8, oldest=0.0) == 12
        kept, last = await store.audit.after("0-0")
        assert last == kept[-1].id
        assert [entry.time for entry in kept] == [1012.0 + number for number in range(8)]
        assert await store.audit.trim(entries=8, oldest=time.time() + 60) == 8
        assert await store.audit.after("0-0") == ([], "0-0")

    on_store(body)


def test_a_readers_cursor_can_be_moved_by_the_leader_only(on_store: Any) -> None:
    async def body(store: Store) -> None:
        assert await store.audit.cursor("file") == "0-0"
        await store.audit.advance("file", "5-1", fence=2)
        await store.audit.advance("file", "6-0", fence=3)
        with pytest.raises(FencedError):
            await store.audit.advance("file", "5-2", fence=2)
        await store.audit.advance("other", "1-0", fence=1)
        assert [await store.audit.cursor(name) for name in ("file", "other")] == ["6-0", "1-0"]

    on_store(body)


def test_a_reader_is_woken_by_an_entry(on_store: Any) -> None:
    async def body(store: Store) -> None:
        await store.audit.note(entry_of(1))
        (first,), _ = await store.audit.after("0-0")
        waiting = asyncio.create_task(store.audit.after(first.id, timeout=10))
        await asyncio.sleep(0.05)
        await store.audit.note(entry_of(2))
        assert [entry.time for entry in (await waiting)[0]] == [1002.0]

    on_store(body)


def test_the_same_act_is_recorded_once_per_interval(on_store: Any) -> None:
    async def body(store: Store) -> None:
        assert [await store.audit.first("x", seconds=60) for _ in range(3)] == [True, False, False]
        assert await store.audit.first("y", seconds=60)

    on_store(body)


def test_a_request_for_a_newer_catalog_is_read_once(on_store):
    async def body(store):
        assert not await store.catalogs.take_request("hpc")
        await store.catalogs.ask("hpc")
        await store.catalogs.ask("hpc")
        assert not await store.catalogs.take_request("other")
        assert await store.catalogs.take_request("hpc")
        assert not await store.catalogs.take_request("hpc")

    on_store(body)
