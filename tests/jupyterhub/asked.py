"""The requests to a real JupyterHub and to ours, in order, with the intended differences.

`ours` is our status if it differs from JupyterHub's; docs/jupyterhub.md says why.
"""

from typing import Any, NamedTuple

SERVICES = ("root1", "reader", "bios")
"""Services of both hubs: one with all scopes, and two with the roles of their names."""
_BIO = ("list:users", "admin:users", "delete:users", "list:groups", "groups", "servers")
ROLES = [
    {"name": "user", "scopes": ["self", "shares!user", "read:users:name", "read:groups:name"], "services": []},
    {"name": "reader", "scopes": ["list:users", "read:users:name", "read:users:activity"], "services": ["reader"]},
    {"name": "bios", "scopes": [f"{scope}!group=bio" for scope in _BIO], "services": ["bios"]},
]


class Ask(NamedTuple):
    """One request. `who`: a service, a user with a token, or `""`. `keep`: names for parts of the response.

    `paged`: with JupyterHub's Accept header for lists. `settled`: wait afterwards until no server is starting or stopping.
    """

    who: str
    method: str
    path: str
    body: Any = None
    ours: int = 0
    paged: bool = False
    settled: bool = False
    keep: tuple[tuple[str, str], ...] = ()


def _each(who: str, method: str, path: str, *bodies: Any) -> list[Ask]:
    return [Ask(who, method, path, body) for body in bodies]


def _tokens() -> list[Ask]:
    mine = "/users/ann/tokens"
    made = [
        Ask("root1", "POST", f"/users/{name}/tokens", {"note": "t"}, keep=((name, "token"),))
        for name in ("ann", "bob", "boss", "cat")
    ]
    narrow = {"scopes": ["servers!server=ann/lab2"]}
    return [
        *made,
        *(Ask(who, "GET", "/user") for who in ("ann", "boss", "root1", "reader", "nobody", "")),
        *(Ask("ann", "GET", f"/users/{name}/tokens") for name in ("bob", "none")),
        Ask("root1", "GET", "/users/none/tokens"),
        Ask("reader", "GET", mine),
        Ask("ann", "POST", mine, {}, keep=(("id", "id"),)),
        *_each("ann", "POST", mine, None, {"expires_in": 3600, "note": "x"}, {"expires_in": "x"}, {"expires_in": -1}),
        Ask("ann", "POST", mine, {"expires_in": 0}, ours=201),
        *_each("ann", "POST", mine, *({"roles": roles} for roles in (["token"], ["admin"], ["none"], "user"))),
        *_each("ann", "POST", mine, *({"scopes": scopes} for scopes in ([], ["none"], ["admin:users"], "x", ["self"]))),
        Ask("ann", "POST", mine, {"scopes": ["read:users!user"]}),
        Ask("ann", "POST", mine, narrow, keep=(("ann of lab", "token"),)),
        *(Ask(who, "POST", "/users/none/tokens", {}) for who in ("ann", "root1")),
        *(Ask(who, "POST", "/users/bob/tokens", {}) for who in ("ann", "reader", "")),
        *(Ask("ann", "GET", f"{mine}/{token}") for token in ("<id>", "none")),
        *(Ask("bob", "GET", f"{path}/<id>") for path in (mine, "/users/bob/tokens")),
        *(Ask("ann", "DELETE", f"{mine}/{token}") for token in ("none", "<id>", "<id>")),
        *(Ask(who, "DELETE", "/users/none/tokens/x") for who in ("ann", "root1")),
        *(Ask("ann of lab", "GET", path) for path in ("/user", "/users/ann", "/users/bob", "/users")),
        Ask("ann of lab", "POST", "/users/ann/server"),
    ]


def _users() -> list[Ask]:
    several = ({"usernames": []}, {}, None, [], {"usernames": ["a/b"]}, {"usernames": ["z"], "odd": 1})
    return [
        *(Ask("", "GET", path) for path in ("/", "/health", "/info", "/none", "/users")),
        *(Ask("root1", method, "/info") for method in ("GET", "POST")),
        Ask("reader", "GET", "/info"),
        *_each("root1", "POST", "/users", {"usernames": ["ann", "bob"]}, {"usernames": ["ann", "cat"]}),
        *_each("root1", "POST", "/users", {"usernames": ["ann"]}, *several, {"usernames": ["z"], "admin": "yes"}),
        *_each("root1", "POST", "/users", {"usernames": ["Upper"]}, {"usernames": ["adm"], "admin": True}),
        *(Ask(who, "POST", "/users", {"usernames": ["x"]}) for who in ("reader", "bios", "")),
        *_each("root1", "POST", "/users/dan", None, None),
        *_each("root1", "POST", "/users/fay", {"odd": 1}, {"admin": "x"}, {"admin": None}, {"admin": True}),
        *(Ask(who, "POST", "/users/x") for who in ("bios", "reader")),
        *(Ask(who, "GET", f"/users/{name}") for who in ("root1", "reader", "bios", "") for name in ("ann", "none")),
        *_each("root1", "PATCH", "/users/dan", {"admin": True}, {"admin": False}, {}, None, [], {"odd": 1}),
        Ask("root1", "PATCH", "/users/dan", {"admin": None}),
        *(Ask(who, "PATCH", "/users/dan", {"admin": True}) for who in ("reader", "bios")),
        Ask("root1", "PATCH", "/users/none", {"admin": True}),
        *(Ask(who, "DELETE", "/users/dan") for who in ("reader", "bios", "", "root1", "root1")),
    ]


def _groups() -> list[Ask]:
    bio = "/groups/bio"
    some = {"groups": ["g1", "g2"], "users": ["bob"]}
    return [
        *(Ask(who, "GET", "/groups") for who in ("root1", "ann", "reader", "")),
        *_each("root1", "POST", bio, None, None),
        Ask("root1", "POST", "/groups/geo", {"users": ["ann"]}),
        *_each("root1", "POST", "/groups/bad", {"users": ["none"]}, {"odd": 1}, []),
        *_each(
            "root1", "POST", "/groups", some, {"groups": ["g1"]}, {}, {"groups": []}, None, {"groups": ["x"], "o": 1}
        ),
        *(Ask(who, "GET", f"/groups/{name}") for who in ("root1", "ann", "reader", "bios") for name in ("geo", "none")),
        Ask("bios", "POST", "/groups/x"),
        *_each("root1", "POST", f"{bio}/users", {"users": ["ann", "bob"]}, {"users": ["ann"]}, {"users": ["none"]}, {}),
        *_each("root1", "POST", f"{bio}/users", None, {"users": "ann"}),
        *(Ask("root1", method, "/groups/none/users", {"users": ["ann"]}) for method in ("POST", "DELETE")),
        Ask("ann", "POST", f"{bio}/users", {"users": ["ann"]}),
        *(Ask("bios", "POST", f"/groups/{name}/users", {"users": ["cat"]}) for name in ("bio", "geo")),
        *_each("root1", "DELETE", f"{bio}/users", {"users": ["bob"]}, {"users": ["bob"]}, {"users": ["none"]}, {}),
        *_each("root1", "PUT", f"{bio}/properties", {"a": {"b": [1]}}, [], None),
        Ask("root1", "PUT", "/groups/none/properties", {}),
        *(Ask(who, "PUT", f"{bio}/properties", {"x": 1}) for who in ("bios", "ann")),
        Ask("root1", "GET", "/groups", paged=True),
        Ask("root1", "GET", "/groups?limit=x"),
        *(Ask("bios", "GET", path) for path in ("/users", "/users/ann", "/users/adm")),
        *_each("bios", "PATCH", "/users/ann", {"admin": True}, {"admin": False}),
        Ask("bios", "DELETE", "/users/adm"),
        *(Ask(who, "DELETE", "/groups/g1") for who in ("ann", "root1", "root1")),
        *(Ask("root1", method, "/users/ann/groups") for method in ("GET", "POST")),
    ]


def _lists() -> list[Ask]:
    pages = ("limit=2", "limit=2&offset=2", "limit=0", "limit=-3", "limit=9999", "offset=99", "offset=x", "limit=x")
    chosen = ("state=active", "state=ready", "state=inactive", "state=odd", "state=", "name_filter=AN", "name_filter=")
    order = ("sort=name", "sort=-name", "sort=odd", "sort=", "include_stopped_servers=1", "name_filter=a&limit=1")
    return [
        Ask("root1", "GET", f"/users?{'' if 'sort' in query else 'sort=name&'}{query}", paged=paged)
        for query in pages + chosen + order
        for paged in (True, False)
    ]


def _servers() -> list[Ask]:
    mine, lab = "/users/ann/server", "/users/ann/servers/lab2"
    return [
        *(Ask("ann", "GET", path) for path in (mine, lab, f"{lab}/progress", "/users/ann/servers/")),
        *(Ask("ann", "DELETE", path) for path in (mine, lab)),
        *(Ask(who, "POST", mine) for who in ("bob", "reader", "")),
        *(Ask(who, "POST", "/users/none/server") for who in ("ann", "root1")),
        *(Ask("ann", "PUT", path, {}) for path in (mine, "/users/ann/servers/")),
        *_each("ann", "PUT", lab, {"display_name": "Lab", "user_options": {}}, {}),
        Ask("ann", "PUT", "/users/ann/servers/lab2"),
        Ask("ann", "PUT", "/users/ann/servers/lab3", {"display_name": 3}),
        *(Ask(who, "PUT", "/users/ann/servers/q", {}) for who in ("bob", "reader")),
        *(Ask(who, "GET", lab) for who in ("ann", "bob", "reader", "ann of lab")),
        *(Ask("ann", "GET", f"/users/ann{query}") for query in ("", "?include_stopped_servers=1")),
        *_each("ann", "PATCH", lab, {"display_name": "L2"}, {}, None, {"display_name": 3}, {"user_options": []}),
        Ask("ann", "PATCH", "/users/ann/servers/none", {"display_name": "x"}),
        Ask("bob", "PATCH", lab, {"display_name": "x"}),
        Ask("ann", "POST", mine, ours=202, settled=True),
        Ask("ann", "POST", mine),
        Ask("ann", "POST", "/users/ann/servers/"),
        Ask("ann", "POST", lab, {}, ours=202, settled=True),
        *_each("ann", "POST", lab, None, {"display_name": 3}),
        Ask("ann", "PATCH", lab, {"user_options": {}}),
        *(Ask(who, "GET", "/users/ann") for who in ("ann", "ann of lab")),
        *(Ask("root1", "GET", f"/users?state={state}", paged=True) for state in ("active", "ready", "inactive")),
        *(Ask(who, method, "/proxy", {}) for who in ("root1", "reader") for method in ("POST", "PATCH")),
        *_each("root1", "PATCH", "/proxy", None, []),
    ]


def _activity(now: str) -> list[Ask]:
    where = "/users/ann/activity"
    both = {"servers": {"lab2": {"last_activity": now}, "": {"last_activity": now}}, "last_activity": now}
    odd = ("then?", "2099-01-01T00:00:00Z", 12345)
    return [
        *_each(
            "ann", "POST", where, {"last_activity": now}, both, {}, None, [], *({"last_activity": at} for at in odd)
        ),
        *_each("ann", "POST", where, {"last_activity": "2020-01-01"}, {"servers": {"none": {"last_activity": now}}}),
        *_each("ann", "POST", where, {"servers": []}, {"servers": {"lab2": {}}}, {"servers": {"lab2": "x"}}),
        *(Ask(who, "POST", where, {"last_activity": now}) for who in ("bob", "reader")),
        Ask("root1", "POST", "/users/none/activity", {"last_activity": now}),
    ]


def _shares() -> list[Ask]:
    lab, other = "/shares/ann/lab2", "access:servers!server=bob/lab2"
    both = ["start:servers", "access:servers"]
    return [
        *(Ask("ann", "GET", f"/shares/ann{server}") for server in ("", "/lab2", "/", "/none")),
        *(Ask(who, "GET", path) for who, path in (("bob", lab), ("root1", "/shares/none"), ("reader", "/shares/ann"))),
        Ask("ann", "POST", "/shares/ann", {"user": "bob"}),
        *_each("ann", "POST", lab, {"user": "bob"}, {"user": "none"}, {"group": "bio"}, {"group": "none"}, {}, None),
        *_each("ann", "POST", lab, {"user": "bob", "group": "bio"}, {"user": "bob", "scopes": both}),
        *_each("ann", "POST", lab, *({"user": "bob", "scopes": scopes} for scopes in (["admin:users"], [other], []))),
        Ask("ann", "POST", lab, {"user": "bob", "odd": 1}),
        Ask("ann", "POST", "/shares/ann/none", {"user": "bob"}),
        Ask("bob", "POST", lab, {"user": "cat"}),
        Ask("ann", "POST", "/shares/ann/", {"user": "bob"}),
        *(
            Ask("ann", "GET", f"/shares/ann{server}", paged=paged)
            for server in ("", "/lab2")
            for paged in (True, False)
        ),
        *(
            Ask("bob", "GET", f"/users/bob/shared{server}")
            for server in ("", "?limit=1", "/ann/lab2", "/ann/", "/ann/x")
        ),
        *(Ask(who, "GET", "/users/bob/shared") for who in ("ann", "root1")),
        *(Ask("root1", "GET", f"/groups/{path}") for path in ("bio/shared", "bio/shared/ann/lab2", "none/shared")),
        *(Ask("bob", "GET", path) for path in ("/user", "/users/ann/servers/lab2")),
        Ask("bob", "POST", "/users/ann/servers/lab2"),
        *_each("ann", "PATCH", lab, {"user": "none"}, {"group": "none"}, {"user": "cat"}, {}, {"user": "bob"}),
        *(Ask("ann", "PATCH", f"/shares/ann{server}", {"user": "bob"}) for server in ("/none", "")),
        Ask("bob", "PATCH", lab, {"user": "bob"}),
        *(Ask("bob", "DELETE", "/users/bob/shared/ann/") for _ in range(2)),
        Ask("bob", "GET", "/users/bob/shared"),
        *(Ask("root1", "DELETE", "/groups/bio/shared/ann/lab2") for _ in range(2)),
        *(Ask("ann", "DELETE", f"/shares/ann{server}") for server in ("", "/lab2", "/none")),
        Ask("bob", "DELETE", lab),
    ]


def _codes() -> list[Ask]:
    lab = "/share-codes/ann/lab2"
    return [
        Ask("ann", "POST", "/share-codes/ann"),
        Ask("ann", "POST", lab, {}, keep=(("id", "id"), ("code", "code"))),
        *_each("ann", "POST", lab, None, {"expires_in": 5}, {"expires_in": "x"}, {"expires_in": 60, "scopes": None}),
        Ask("ann", "POST", "/share-codes/ann/none", {}),
        *(Ask(who, method, lab) for who in ("bob", "reader") for method in ("GET", "POST", "DELETE")),
        *(Ask("ann", "GET", f"/share-codes/ann{server}") for server in ("", "/lab2", "/none", "/")),
        *(Ask("ann", "DELETE", f"{lab}?{query}") for query in ("id=x", "code=x", "id=<id>", "id=<id>", "code=<code>")),
        *(Ask("ann", "DELETE", f"/share-codes/ann{server}") for server in ("", "/lab2", "/none")),
        Ask("ann", "GET", lab),
    ]


def _rest() -> list[Ask]:
    mine, lab2 = "/users/ann/server", "/users/ann/servers/lab2"
    form = ("reader", "new", "none")
    return [
        *(Ask(who, "GET", "/services") for who in ("root1", "ann", "")),
        *(Ask("root1", "GET", f"/services/{name}") for name in form),
        *_each(
            "root1", "POST", "/services/new", {"odd": 1}, None, [], {"command": ["x"]}, {"info": {"a": 1}}, {"url": ""}
        ),
        *(Ask(who, "DELETE", f"/services/{name}") for who in ("root1", "ann") for name in form),
        *(Ask(who, "GET", path) for who in ("root1", "ann", "") for path in ("/metrics", "/hub/metrics")),
        *(Ask(who, "OPTIONS", path, ours=204) for who in ("ann", "") for path in ("/", "/users", "/users/ann/server")),
        *_each("root1", "POST", "/shutdown", {"servers": 5}, {"proxy": "x"}),
        Ask("reader", "POST", "/shutdown"),
        Ask("bob", "DELETE", mine),
        Ask("ann", "DELETE", mine, {"remove": True}),
        Ask("ann", "DELETE", mine, ours=202, settled=True),
        Ask("ann", "DELETE", "/users/ann/servers/lab2", {"remove": True}, settled=True),
        Ask("ann", "GET", "/users/ann/servers/lab2"),
        *(Ask("ann", method, mine) for method in ("DELETE", "GET")),
        *_each("ann", "DELETE", lab2, {"remove": True}, {"remove": True}),
        *(Ask(who, "DELETE", "/users/none/server") for who in ("ann", "root1")),
        Ask("boss", "DELETE", "/users/boss"),
        Ask("root1", "DELETE", "/users/cat"),
        *(Ask(who, "GET", path) for who, path in (("cat", "/user"), ("root1", "/users/cat"))),
        *(Ask("root1", method, path) for method, path in (("PUT", "/users/ann"), ("DELETE", "/users"))),
    ]


def everything(now: str) -> list[Ask]:
    """Return all requests. `now`: the current time in the format of apps."""
    parts = _users(), _tokens(), _groups(), _lists(), _servers(), _activity(now), _shares(), _codes(), _rest()
    return [ask for part in parts for ask in part]
