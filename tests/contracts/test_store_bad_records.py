"""With an unreadable record, every list and scan continues without it, and it is reported."""

import json
import time

import pytest
from msgspec.structs import replace

from state.errors import BadRecordError
from state.offer.catalog import Catalog, Grants
from state.records.audit import Act, AuditFilter, Entry
from state.records.models import (
    Endpoint,
    Event,
    Group,
    Route,
    Service,
    Session,
    Share,
    ShareCode,
    Standing,
    Status,
    Target,
    Token,
    User,
)
from state.store import keys
from state.store.credentials import digest
from state.store.feed import RouteSet, Unreadable
from state.store.survey import survey
from tests.contracts.test_store import server_of, session_of, token_of

BAD = b'{"status":"hibernating","revision":"many"}'
OLD = time.time() - 3600


def share_of(server, user):
    scopes = (f"access:servers!server=ann/{server}",)
    return Share(owner="ann", server=server, user=user, scopes=scopes, created=1730000000.1234567)


async def spoil(store, key, field="", raw=BAD):
    """Replace a record with unreadable bytes."""
    if field:
        await store.redis.call("HSET", key, field, raw)
    else:
        await store.redis.call("SET", key, raw)


def noted(store):
    """Return the places of the records that this process has found since the last call."""
    return {record.place for record in store.redis.damage.take()}


def test_users(on_store):
    async def body(store):
        for name in ("ann", "bob", "cid"):
            await store.users.add(User(name=name, created=1.0))
        await spoil(store, keys.user("bob"))
        assert [user.name for user, _, _ in await store.users.many(["ann", "bob", "cid"])] == ["ann", "cid"]
        assert [user and user.name for user in await store.users.gather(["ann", "bob", "no"])] == ["ann", None, None]
        for ask in (store.users.get, store.users.get_with_servers):
            with pytest.raises(BadRecordError):
                await ask("bob")
        with pytest.raises(BadRecordError):
            await store.users.save(User(name="bob", created=1.0, admin=True))
        assert await store.redis.call("GET", keys.user("bob")) == BAD
        assert await store.users.add(User(name="bob", created=1.0)) is False
        assert noted(store) == {keys.user("bob")}
        assert await store.users.remove("bob")
        assert await store.users.get("bob") is None

    on_store(body)


def test_servers(on_store):
    async def body(store):
        await store.users.add(User(name="ann", created=1.0))
        for name in ("a", "b", "c"):
            await store.servers.save(server_of("ann", name))
        await spoil(store, keys.servers("ann"), "b")
        assert [one.name for one in await store.servers.of_user("ann")] == ["a", "c"]
        assert [one.name for one in (await store.users.get_with_servers("ann"))[1]] == ["a", "c"]
        assert [one.name for one in (await store.users.many(["ann"]))[0][1]] == ["a", "c"]
        records, bad = await store.servers.read(["ann/a", "ann/b", "ann/none"])
        assert (list(records), bad) == (["ann/a"], {"ann/b"})
        with pytest.raises(BadRecordError):
            await store.servers.get("ann", "b")
        for act in (store.servers.save(server_of("ann", "b")), store.servers.remove(server_of("ann", "b"))):
            with pytest.raises(BadRecordError):
                await act
        assert noted(store) == {f"{keys.servers('ann')} b"}

    on_store(body)


def test_events(on_store):
    async def body(store):
        event = Event(attempt="a" * 32, time=1.0, status=Status.QUEUED, message="one", progress=1)
        await store.servers.tell("ann", "", event)
        await store.redis.call("XADD", keys.events("ann", ""), "*", "event", BAD)
        first = await store.servers.events("ann", "")
        assert [one.message for one in first] == ["one"]
        assert await store.servers.events("ann", "", after=first[0].id, timeout=0.05) == []
        await store.servers.tell("ann", "", replace(event, message="two"))
        assert [one.message for one in await store.servers.events("ann", "", after=first[0].id)] == ["two"]
        assert [one.message for one in await store.servers.events("ann", "", after=first[0].id, limit=1)] == ["two"]

    on_store(body)


def test_tokens_and_sessions(on_store):
    async def body(store):
        await store.users.add(User(name="ann", created=1.0))
        tokens = [await store.tokens.issue(token_of("ann", number)) for number in range(3)]
        tickets = [await store.sessions.open(session_of("ann", number)) for number in range(3)]
        await spoil(store, keys.token(digest(tokens[1])))
        await spoil(store, keys.session(digest(tickets[1])))
        assert [one.id for one in await store.tokens.of_user("ann")] == ["t0", "t2"]
        assert [one.id for one in await store.sessions.of_user("ann")] == ["s0", "s2"]
        assert await store.tokens.get(digest(tokens[1])) is None
        assert await store.sessions.get(digest(tickets[1])) is None
        assert [one and one.id for one in await store.tokens.many([digest(t) for t in tokens])] == ["t0", None, "t2"]
        assert [one and one.id for one in await store.sessions.many([digest(t) for t in tickets])] == ["s0", None, "s2"]
        await store.tokens.used({digest(secret): time.time() for secret in tokens})
        assert len(noted(store)) == 2
        # they can still be revoked, by name and with all others
        assert await store.tokens.revoke("ann", "t1")
        assert await store.sessions.end("ann", "s1")
        assert await store.tokens.revoke_all("ann") == 2
        assert await store.sessions.close_all("ann") == 2
        for secret in tokens:
            assert not await store.redis.call("EXISTS", keys.token(digest(secret)))

    on_store(body)


def test_shares_and_share_codes(on_store):
    async def body(store):
        for name in ("ann", "bob", "cid"):
            await store.users.add(User(name=name, created=1.0))
        for user in ("bob", "cid"):
            await store.shares.grant(share_of("lab", user))
        codes = [
            ShareCode(id=str(n), owner="ann", server="lab", scopes=(), created=n, expires=time.time() + 60)
            for n in range(3)
        ]
        secrets = [await store.shares.issue_code(code) for code in codes]
        await spoil(store, keys.shares("ann"), "lab/bob")
        await spoil(store, keys.share_code(digest(secrets[1])))
        assert [one.user for one in await store.shares.of_owner("ann")] == ["cid"]
        assert await store.shares.of("bob") == []
        assert [one.id for one in await store.shares.codes("ann")] == ["0", "2"]
        assert await store.shares.code(secrets[1]) is None
        with pytest.raises(BadRecordError):
            await store.shares.grant(share_of("lab", "bob"))
        assert await store.redis.call("HGET", keys.share_codes("ann"), "1")
        # all shares of a server are removed with it, readable or not
        assert await store.shares.remove_server("ann", "lab") == 2
        assert await store.redis.call("HLEN", keys.shares("ann")) == 0
        assert await store.redis.call("SMEMBERS", keys.shared("bob")) in ([], set())

    on_store(body)


def test_a_share_is_changed_without_losing_anything(on_store):
    """Lua's cjson writes an empty list as an object, and 14 digits of a time."""

    async def body(store):
        given = await store.shares.grant(share_of("lab", "bob"))
        raw = json.loads(await store.redis.call("HGET", keys.shares("ann"), "lab/bob"))
        extra = {"limits": {"hours": [], "until": 1730000000.1234567}}
        await spoil(store, keys.shares("ann"), "lab/bob", json.dumps({**raw, **extra, "version": 9}).encode())
        more = await store.shares.grant(replace(given, scopes=("users:activity!user=ann",), created=2.0))
        assert more.scopes == ("access:servers!server=ann/lab", "users:activity!user=ann")
        left = await store.shares.revoke(given, ["users:activity!user=ann"])
        assert (left.scopes, left.created) == (given.scopes, 1730000000.1234567)
        now = json.loads(await store.redis.call("HGET", keys.shares("ann"), "lab/bob"))
        assert now == {**raw, **extra, "version": 9}

    on_store(body)


def test_groups_and_services(on_store):
    async def body(store):
        for name in ("g1", "g2"):
            await store.groups.add(Group(name=name))
            await store.services.add(Service(name=name))
        await spoil(store, keys.group("g1"))
        await spoil(store, keys.SERVICES_ALL, "g1")
        assert [group.name for group, _ in await store.groups.many(["g1", "g2"])] == ["g2"]
        assert [service.name for service in await store.services.every()] == ["g2"]
        for ask in (store.groups.get("g1"), store.services.get("g1"), store.groups.save(Group(name="g1", revision=1))):
            with pytest.raises(BadRecordError):
                await ask

    on_store(body)


def test_catalogs_and_standings(on_store):
    async def body(store):
        grants = {"ann": Grants(default_account="x"), "bob": Grants()}
        await store.catalogs.put(Catalog(cluster="hpc", kind="slurm", time=1.0), grants, fence=1)
        await spoil(store, keys.grants("hpc"), "bob", b"[]")
        assert (await store.catalogs.grants("hpc", "ann")).default_account == "x"
        assert await store.catalogs.grants("hpc", "bob") is None
        await spoil(store, keys.catalog("hpc"))
        assert await store.catalogs.catalog("hpc") is None
        for session in ("s1", "s2"):
            standing = Standing(user="ann", session=session, provider="p", began=1.0, checked=1.0)
            await store.standings.put(standing, due=1.0, lifetime=60)
        await spoil(store, keys.standings("ann"), "s1")
        assert [one.session for one in await store.standings.of_user("ann")] == ["s2"]
        with pytest.raises(BadRecordError):
            await store.standings.get("ann", "s1")

    on_store(body)


def test_the_audit(on_store):
    async def body(store):
        def entry(number):
            return Entry(time=float(number), act=Act.HUB, user="ann")

        await store.audit.note(entry(1))
        for stream in (keys.AUDIT_LOG, keys.audit("ann")):
            await store.redis.call("XADD", stream, "*", "entry", BAD)
        await store.audit.note(entry(2))
        bad = await store.redis.call("XADD", keys.AUDIT_LOG, "*", "entry", b"")
        assert [one.time for one in (await store.audit.page(AuditFilter()))[0]] == [2.0, 1.0]
        first, older = await store.audit.page(AuditFilter(), limit=1)
        assert ([one.time for one in first], older) == ([2.0], first[0].id)
        assert [one.time for one in (await store.audit.page(AuditFilter(), before=older, limit=1))[0]] == [1.0]
        assert [one.time for one in await store.audit.of_user("ann")] == [2.0, 1.0]
        found, last = await store.audit.after("0-0")
        assert [one.time for one in found] == [1.0, 2.0]
        assert last == bad.decode()
        assert await store.audit.after(last) == ([], last)

    on_store(body)


def test_the_feed(on_store):
    async def body(store):
        def route(name):
            where = Endpoint(kind="unix", path="/s")
            return Route(prefix=f"/user/ann/{name}/", user="ann", name=name, attempt="a" * 32, endpoint=where)

        start = await store.feed.snapshot()
        for name in ("x", "y"):
            await store.feed.set_route(route(name))
        await spoil(store, keys.FEED_ROUTES, "/user/ann/x/")
        assert [one.name for one in (await store.feed.snapshot()).routes] == ["y"]
        assert await store.feed.route("/user/ann/x/") is None
        number = int(await store.redis.call("INCR", keys.FEED_NUMBER))
        await store.redis.call("XADD", keys.FEED_LOG, f"{number}-0", "revoked", BAD)
        await store.feed.set_route(route("z"))
        events = await store.feed.read(start.epoch, start.number, timeout=0)
        assert [type(one) for one in events] == [RouteSet, RouteSet, Unreadable, RouteSet]
        # the controller replaces it with a correct one, and removes it
        assert await store.feed.set_route(route("x"))
        await spoil(store, keys.FEED_ROUTES, "/user/ann/x/", b"{")
        assert await store.feed.drop_route("/user/ann/x/", attempt="a" * 32)

    on_store(body)


def test_a_sweep_for_orphans_does_not_touch_what_belongs_to_an_unreadable_record(on_store):
    async def body(store):
        for name in ("ann", "bob"):
            await store.users.add(User(name=name, created=OLD))
        await store.servers.save(server_of("ann", "lab"))
        bound = Token(id="t", user="ann", scopes=(), created=OLD, bound_to="ann/lab", attempt="a" * 32)
        secret = await store.tokens.issue(bound)
        await store.shares.grant(replace(share_of("lab", "bob"), created=OLD))
        await spoil(store, keys.servers("ann"), "lab")
        await spoil(store, keys.user("bob"))
        swept = await store.orphans.sweep(services=(), now=time.time())
        assert not +swept
        assert await store.tokens.get(digest(secret))
        assert await store.shares.of("bob")

    on_store(body)


async def everything(store):
    """Fill a store with a record of each kind, then spoil each. Return the places."""
    await store.users.add(User(name="ann", created=1.0, admin=True, groups=("g",)))
    await store.servers.save(
        server_of("ann", "lab"),
        event=Event(attempt="a" * 32, time=1.0, status=Status.QUEUED, message="m", progress=1),
    )
    token = await store.tokens.issue(token_of("ann"))
    ticket = await store.sessions.open(session_of("ann"))
    await store.services.add(Service(name="s"))
    places = [
        (keys.user("ann"), ""),
        (keys.group("g"), ""),
        (keys.servers("ann"), "lab"),
        (keys.token(digest(token)), ""),
        (keys.session(digest(ticket)), ""),
        (keys.SERVICES_ALL, "s"),
    ]
    for key, field in places:
        await spoil(store, key, field)
    stream = keys.events("ann", "lab")
    places.append((stream, (await store.redis.call("XADD", stream, "*", "event", BAD)).decode()))
    return {f"{key} {field}" if field else key for key, field in places}


def test_a_survey_finds_every_unreadable_record_and_a_repair_removes_them(on_store):
    async def body(store):
        assert (await survey(store.redis)).bad == ()
        places = await everything(store)
        newer = json.dumps({"version": 99, "name": "x", "kind": 5}).encode()
        await store.redis.call("HSET", keys.SERVICES_ALL, "x", newer)
        await store.redis.call("SET", keys.servers("wrong"), "a string")
        found = await survey(store.redis)
        assert {one.place for one in found.bad} - places == {keys.servers("wrong")}
        assert places <= {one.place for one in found.bad}
        assert found.read >= len(places)
        # admins see it, whichever process found it
        await store.bad_records.tell()
        assert {one.place for one in await store.bad_records.every()} >= places
        for one in found.bad:
            if one.key != keys.servers("wrong"):
                await store.bad_records.repair(one)
        assert {one.place for one in (await survey(store.redis)).bad} == {keys.servers("wrong")}
        # the users still exist with their groups, without admin rights
        ann = await store.users.get("ann")
        assert (ann.groups, ann.admin) == (("g",), False)
        assert (await store.groups.get("g")).properties == {}
        assert await store.redis.call("HGET", keys.BAD_ASIDE, keys.user("ann")) == BAD
        await store.bad_records.review()
        assert await store.bad_records.every() == []

    on_store(body)


def test_records_of_a_newer_version_are_never_moved(on_store):
    async def body(store):
        raw = json.dumps({"version": 99, "id": "s1", "user": 5}).encode()
        await store.redis.call("SET", keys.session("d" * 64), raw)
        (found,) = (await survey(store.redis)).bad
        assert found.newer
        assert "newer version" in await store.bad_records.repair(found)
        assert await store.redis.call("GET", keys.session("d" * 64)) == raw

    on_store(body)


def test_a_repaired_record_leaves_the_list(on_store):
    async def body(store):
        await store.users.add(User(name="ann", created=1.0))
        await spoil(store, keys.user("ann"))
        await store.users.gather(["ann"])
        await store.bad_records.tell()
        await store.bad_records.review()
        assert [one.place for one in await store.bad_records.every()] == [keys.user("ann")]
        await store.redis.call("DEL", keys.user("ann"))
        await store.bad_records.review()
        assert await store.bad_records.every() == []

    on_store(body)


def test_an_unreadable_record_is_logged_once_with_its_place(on_store, caplog):
    async def body(store):
        await store.users.add(User(name="ann", created=1.0))
        await spoil(store, keys.user("ann"))
        for _ in range(3):
            await store.users.gather(["ann"])

    on_store(body)
    told = [record.getMessage() for record in caplog.records if record.name == "towpath.store"]
    assert len(told) == 1
    assert keys.user("ann") in told[0]


def test_unknown_fields_survive_every_method_that_rewrites(on_store):
    async def body(store):
        async def grow(key, field=""):
            raw = await store.redis.call(*(("HGET", key, field) if field else ("GET", key)))
            text = json.dumps({**json.loads(raw), "version": 99, "extra": [1, {}]}).encode()
            await store.redis.call(*(("HSET", key, field, text) if field else ("SET", key, text, "KEEPTTL")))

        async def kept(key, field=""):
            raw = json.loads(await store.redis.call(*(("HGET", key, field) if field else ("GET", key))))
            return (raw["version"], raw["extra"]) == (99, [1, {}])

        await store.users.add(User(name="ann", created=1.0))
        await grow(keys.user("ann"))
        await store.users.save(replace(await store.users.get("ann"), admin=True))
        assert await kept(keys.user("ann"))
        await store.groups.add(Group(name="g"))
        await grow(keys.group("g"))
        await store.groups.save(replace(await store.groups.get("g"), properties={"a": 1}))
        assert await kept(keys.group("g"))
        await store.servers.save(server_of("ann", "lab"))
        await grow(keys.servers("ann"), "lab")
        server = await store.servers.get("ann", "lab")
        await store.servers.save(replace(server, target=Target.STOPPED))
        assert await kept(keys.servers("ann"), "lab")
        token = digest(await store.tokens.issue(token_of("ann")))
        await grow(keys.token(token))
        await store.tokens.used({token: time.time()})
        assert await kept(keys.token(token))
        ticket = digest(await store.sessions.open(session_of("ann")))
        await grow(keys.session(ticket))
        await store.sessions.extend(ticket, time.time() + 3600)
        assert await kept(keys.session(ticket))
        assert isinstance(await store.sessions.get(ticket), Session)

    on_store(body)
