"""A scope's filter is enforced on every endpoint of the API (GHSA-69wv-m5fw-2fhp), also for creation.

The table lists for each endpoint the scope and its object. The test enumerates the app's routes, so an
endpoint that is missing in the table fails it. For each: a token with the scope and a matching filter is accepted; with
each other filter it is rejected, and the store does not change.
"""

import pytest

from state.records.models import Service, Share, ShareCode, Token
from state.rights import scopes
from state.rights.identity import Identity
from tests.portal.test_access import ANY_CREDENTIAL, PUBLIC, every

USER, LAB, GROUP, SERVICE = "ann", "ann/lab2", "bio", "extra"
FILTERS = (
    *("user=ann", "user=bob", "group=bio", "group=chem", "server=ann/lab2", "server=ann/other", "server=ann/"),
    *("server=bob/lab2", "service=extra", "service=other"),
)
FITTING = {
    "user": {"user=ann", "group=bio"},
    "lab": {"user=ann", "group=bio", "server=ann/lab2"},
    "default": {"user=ann", "group=bio", "server=ann/"},
    "group": {"group=bio"},
    "service": {"service=extra"},
    "hub": set(),
}
U, S, D, G, P = "/users/{name:str}", "/servers/{server:str}", "/server", "/groups/{name:str}", "/services/{name:str}"
SHARES, CODES = "/shares/{owner:str}", "/share-codes/{owner:str}"
TABLE = {
    ("GET", "/info"): ("read:hub", "hub"),
    ("GET", "/metrics"): ("read:metrics", "hub"),
    ("POST", "/users"): ("admin:users", "hub"),
    ("GET", U): ("read:users", "user"),
    ("POST", U): ("admin:users", "hub"),
    ("PATCH", U): ("admin:users", "user"),
    ("DELETE", U): ("delete:users", "user"),
    ("POST", U + "/activity"): ("users:activity", "user"),
    ("POST", U + "/admin-access"): ("servers", "refused"),
    **{(method, path): (scope, "default") for path in (U + D, U + "/servers") for method, scope in (
        ("GET", "read:servers"), ("PUT", "start:servers"), ("POST", "start:servers"), ("PATCH", "start:servers"),
        ("DELETE", "delete:servers"))},
    **{(method, U + S): (scope, "lab") for method, scope in (
        ("GET", "read:servers"), ("PUT", "start:servers"), ("POST", "start:servers"), ("PATCH", "start:servers"),
        ("DELETE", "delete:servers"))},
    ("GET", U + D + "/progress"): ("read:servers", "default"),
    ("GET", U + S + "/progress"): ("read:servers", "lab"),
    ("GET", U + "/tokens"): ("read:tokens", "user"),
    ("POST", U + "/tokens"): ("tokens", "user"),
    ("GET", U + "/tokens/{token_id:str}"): ("read:tokens", "user"),
    ("DELETE", U + "/tokens/{token_id:str}"): ("tokens", "user"),
    ("GET", U + "/shared"): ("read:users:shares", "user"),
    **{(method, f"{U}/shared/{{owner:str}}{server}"): (scope, "user") for method, scope in (
        ("GET", "read:users:shares"), ("DELETE", "users:shares")) for server in ("", "/{server:str}")},
    ("POST", "/groups"): ("admin:groups", "hub"),
    ("GET", G): ("read:groups", "group"),
    ("POST", G): ("admin:groups", "hub"),
    ("DELETE", G): ("delete:groups", "group"),
    ("POST", G + "/users"): ("groups", "group"),
    ("DELETE", G + "/users"): ("groups", "group"),
    ("PUT", G + "/properties"): ("groups", "group"),
    ("GET", G + "/shared"): ("read:groups:shares", "group"),
    **{(method, f"{G}/shared/{{owner:str}}{server}"): (scope, "group") for method, scope in (
        ("GET", "read:groups:shares"), ("DELETE", "groups:shares")) for server in ("", "/{server:str}")},
    ("GET", P): ("read:services", "service"),
    ("POST", P): ("admin:services", "hub"),
    ("DELETE", P): ("admin:services", "service"),
    **{("GET", path): ("read:shares", "user") for path in (SHARES, CODES)},
    **{("GET", path + "/{server:str}"): ("read:shares", "lab") for path in (SHARES, CODES)},
    **{(method, path): ("shares", "405") for method in ("POST", "PATCH", "DELETE") for path in (SHARES, CODES)
       if (method, path) != ("PATCH", CODES)},
    **{(method, path + "/{server:str}"): ("shares", "lab") for method in ("POST", "PATCH", "DELETE")
       for path in (SHARES, CODES) if (method, path) != ("PATCH", CODES)},
    **{(method, "/proxy"): ("proxy", "hub") for method in ("GET", "POST", "PATCH")},
    ("POST", "/shutdown"): ("shutdown", "hub"),
    ("GET", "/towpath/catalog/{cluster:str}"): ("start:servers", "asked"),
    ("GET", "/towpath/offer"): ("start:servers", "asked"),
    ("GET", "/towpath/connect"): ("connect:servers", "asked"),
    ("PUT", "/towpath/groups/{name:str}/roster"): ("groups", "group"),
}  # fmt: skip
LISTS = {
    ("GET", "/users"): "list:users",
    ("GET", "/groups"): "list:groups",
    ("GET", "/services"): "list:services",
    ("GET", "/towpath/audit"): "read:audit",
    ("GET", "/towpath/health"): "read:hub",
}
BODIES = {
    ("POST", "/users"): {"usernames": ["new"]},
    ("PATCH", U): {"admin": False},
    ("POST", U + "/activity"): {"last_activity": "2026-01-01T00:00:00Z"},
    ("PATCH", U + D): {"display_name": "x"},
    ("PATCH", U + S): {"display_name": "x"},
    ("PATCH", U + "/servers"): {"display_name": "x"},
    ("POST", "/groups"): {"groups": ["new"]},
    ("POST", G + "/users"): {"users": ["bob"]},
    ("DELETE", G + "/users"): {"users": ["ann"]},
    ("PUT", G + "/properties"): {"a": 1},
    ("POST", P): {"url": ""},
    ("POST", SHARES + "/{server:str}"): {"group": "bio"},
    ("PATCH", SHARES + "/{server:str}"): {"user": "bob"},
    ("PATCH", "/proxy"): {},
}
BESIDE = {("POST", SHARES + "/{server:str}"): ("read:groups:name",)}
"""Further scopes that the endpoint needs."""
NEW = {("POST", U): "new", ("POST", G): "new", ("POST", P): "new"}


def api(app):
    """Return (method, path under the API) of every endpoint that requires scopes."""
    for named, method, path in every(app):
        if path.startswith("/hub/api/") and (named, path) not in PUBLIC | ANY_CREDENTIAL and method != "HEAD":
            yield method, path.removeprefix("/hub/api")


async def world(bench):
    """Create two objects of each kind."""
    store = bench.store
    for name, group in (("ann", "bio"), ("bob", "chem"), ("root", "")):
        user = await bench.user(name, admin=name == "root")
        if group:
            await store.users.save(_with(user, groups=(group,)))
        await store.tokens.keep(Token(id="t1", user=name, scopes=("self",), created=1.0), f"{name:x<64}")
    client = bench.client(bench.session(await store.users.get("root")))
    for name in ("ann", "bob"):
        assert (await client.put(f"/hub/api/users/{name}/servers/lab2", json={})).status_code == 201
        assert (await client.put(f"/hub/api/users/{name}/servers/other", json={})).status_code == 201
        assert (await client.post(f"/hub/api/users/{name}/server", json={})).status_code == 202
        await bench.end(name)  # the response of an unfinished progress stream would never end
    for name in ("extra", "other"):
        await store.services.add(Service(name=name))
    for server in ("", "lab2"):
        for who in ({"user": "ann"}, {"user": "bob"}, {"group": "bio"}):
            await store.shares.grant(Share(owner="root", server=server, scopes=("access:servers",), created=1.0, **who))
    await store.shares.issue_code(
        ShareCode(id="sc_1", owner="ann", server="lab2", scopes=("access:servers",), created=1.0, expires=2e9)
    )


def _with(user, **changes):
    from msgspec.structs import replace

    return replace(user, **changes)


def holder(bench, *held):
    """Return a service with only these scopes."""
    service = Service(name="holder", configured=True)
    token = Token(id="h", service="holder", scopes=held, created=1.0)
    return bench.client(Identity(service, "holder", scopes.expand(held), token=token))


async def dump(store):
    """Return the content of the store, without audit entries of refusals."""
    found = {}
    for key in sorted(await store.redis.call("KEYS", "*")):
        if b":audit" in key or b"{audit" in key:
            continue
        found[key] = await store.redis.call("DUMP", key)
    return found


async def ask(client, method, path, name=""):
    filled = path
    kind = next((kind for kind in ("/groups", "/services") if kind in path.partition("{")[0]), "/users")
    who = name or {"/groups": GROUP, "/services": SERVICE}.get(kind, USER)
    shared = "/shared/" in path
    for part, value in (
        ("{name:str}", who), ("{server:str}", "lab2"), ("{token_id:str}", "t1"), ("{cluster:str}", "local"),
        ("{owner:str}", "root" if shared else USER),
    ):  # fmt: skip
        filled = filled.replace(part, value)
    if (shared and "{server:str}" not in path) or path.endswith("/servers"):
        filled += "/"
    if path.startswith("/towpath/"):
        filled += "?user=ann"
    if path.endswith("/roster"):
        return await client.request(method, f"/hub/api{filled}", content="user\nbob\n")
    body = BODIES.get((method, path))
    return await client.request(method, f"/hub/api{filled}", **({"json": body} if body is not None else {}))


def test_every_endpoint_is_in_the_table(bench):
    async def main(bench):
        assert set(api(bench.app)) == set(TABLE) | set(LISTS)

    bench(main)


@pytest.mark.parametrize(("method", "path"), sorted(TABLE))
def test_a_filter_is_enforced(bench, method, path):
    scope, target = TABLE[method, path]
    name = NEW.get((method, path), "")
    fitting = FITTING.get(target, FITTING["user"])

    async def main(bench):
        await world(bench)
        before = await dump(bench.store)
        for where in FILTERS:
            held = [f"{scope}!{where}", *(f"{beside}!{where}" for beside in BESIDE.get((method, path), ()))]
            if where not in fitting:
                answer = await ask(holder(bench, *held), method, path, name)
                assert answer.status_code in {403, 404} | ({405} if target == "405" else set()), (where, answer.text)
        assert await dump(bench.store) == before
        refused = {"405": {405}, "refused": {403}}.get(target, set())
        for where in [*sorted(fitting), ""]:
            mark = f"!{where}" if where else ""
            held = [scope + mark, *BESIDE.get((method, path), ())]
            answer = await ask(holder(bench, *held), method, path, name)
            assert answer.status_code in refused or answer.status_code < 400 or _done(answer), (
                where, answer.status_code, answer.text,
            )  # fmt: skip

    bench(main)


def _done(answer):
    """Return whether the request was allowed, but an earlier one has already done the work."""
    return answer.status_code == 409 or (answer.status_code in {400, 404} and any(word in answer.text for word in GONE))


GONE = ("no token", "no server", "not starting", "does not exist", "no such share", "no such service", "no such user",
        "already", "is stopping", "pending stop")  # fmt: skip


@pytest.mark.parametrize("where", FILTERS)
def test_a_list_shows_only_what_the_filter_covers(bench, where):
    async def main(bench):
        await world(bench)
        shown = {"user=ann": {"ann"}, "group=bio": {"ann"}, "user=bob": {"bob"}, "group=chem": {"bob"}}
        users = await holder(bench, f"list:users!{where}").get("/hub/api/users")
        assert {user["name"] for user in users.json()} == shown.get(where, set())
        paged = {"Accept": "application/jupyterhub-pagination+json"}
        page = (await holder(bench, f"list:users!{where}").get("/hub/api/users", headers=paged)).json()
        assert page["_pagination"]["total"] == len(shown.get(where, ()))
        groups = await holder(bench, f"list:groups!{where}").get("/hub/api/groups")
        assert [group["name"] for group in groups.json()] == [where[6:]] * where.startswith("group=")
        services = await holder(bench, f"list:services!{where}").get("/hub/api/services")
        assert list(services.json()) == [where[8:]] * where.startswith("service=")

    bench(main)


def test_a_model_shows_no_more_than_its_scopes(bench):
    """Each narrower scope shows its own fields, with or without a filter."""

    async def main(bench):
        await world(bench)
        named = {"kind", "name"}
        for scope, fields in (
            ("read:users:name", {"admin", "user_info"}),
            ("read:users:groups", {"groups"}),
            ("read:users:activity", {"last_activity"}),
            ("read:roles:users", {"roles", "admin"}),
            ("read:servers", {"servers", "admin", "user_info"}),
        ):
            for mark in ("", "!user=ann", "!group=bio"):
                model = (await holder(bench, scope + mark).get("/hub/api/users/ann")).json()
                assert set(model) == named | fields, scope + mark
        one = (
            await holder(bench, "read:servers!server=ann/lab2").get("/hub/api/users/ann?include_stopped_servers")
        ).json()
        assert set(one["servers"]) == {"lab2"}
        assert "state" not in one["servers"]["lab2"]

    bench(main)
