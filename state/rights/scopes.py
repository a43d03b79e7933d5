"""Permissions: JupyterHub's scopes.

Owns the names of scopes, what each contains, the filters, and the rule that a token never has more than its owner. Does
not know who makes a request or with which credential. Pure.

A scope is `NAME` or `NAME!FILTER=VALUE`; the filters are `user`, `server` (a key `user/name`), `group` and `service`.
Source: JupyterHub 6.1, rest-api.yml (securitySchemes) and "Scopes in JupyterHub".
"""

from collections.abc import Iterable, Iterator
from typing import Final

SUBSCOPES: Final[dict[str, tuple[str, ...]]] = {
    "admin-ui": (),
    "admin:users": ("admin:auth_state", "users", "read:roles:users", "delete:users"),
    "admin:auth_state": (),
    "users": ("read:users", "list:users", "users:activity"),
    "delete:users": (),
    "list:users": ("read:users:name",),
    "read:users": ("read:users:name", "read:users:groups", "read:users:activity"),
    "read:users:name": (),
    "read:users:groups": (),
    "read:users:activity": (),
    "users:activity": ("read:users:activity",),
    "read:roles": ("read:roles:users", "read:roles:services", "read:roles:groups"),
    "read:roles:users": (),
    "read:roles:services": (),
    "read:roles:groups": (),
    "admin:servers": ("admin:server_state", "servers"),
    "admin:server_state": (),
    "servers": ("read:servers", "start:servers", "delete:servers"),
    "read:servers": ("read:users:name",),
    "start:servers": (),
    "delete:servers": (),
    "tokens": ("read:tokens",),
    "read:tokens": (),
    "admin:groups": ("groups", "read:roles:groups", "delete:groups"),
    "groups": ("read:groups", "list:groups"),
    "list:groups": ("read:groups:name",),
    "read:groups": ("read:groups:name",),
    "read:groups:name": (),
    "delete:groups": (),
    "admin:services": ("list:services", "read:services", "read:roles:services"),
    "list:services": ("read:services:name",),
    "read:services": ("read:services:name",),
    "read:services:name": (),
    "read:hub": (),
    "access:servers": ("read:access:servers",),
    "read:access:servers": (),
    "connect:servers": (),
    "access:services": (),
    "users:shares": ("read:users:shares",),
    "read:users:shares": (),
    "groups:shares": ("read:groups:shares",),
    "read:groups:shares": (),
    "read:shares": (),
    "shares": ("access:servers", "read:shares", "users:shares", "groups:shares"),
    "proxy": (),
    "shutdown": (),
    "read:metrics": (),
    "read:audit": (),
}
"""Every scope except the metascopes `self` and `inherit`, with the scopes that it contains.

Only Towpath has `read:access:servers`, which gives read-only access to a server (docs/sharing.md), `connect:servers`,
to connect to one by SSH, which no other scope contains (docs/connect.md), and `read:audit`.
"""

SELF: Final = (
    "read:users",
    "users:activity",
    "users:shares",
    "read:shares",
    "servers",
    "tokens",
    "access:servers",
    "connect:servers",
    "read:audit",
)
"""What `self` stands for, each filtered to the owner. The role `user` has `self` and nothing else."""

ADMIN: Final = (
    "admin-ui",
    "admin:users",
    "admin:servers",
    "admin:services",
    "tokens",
    "admin:groups",
    "list:services",
    "read:services",
    "read:hub",
    "proxy",
    "shutdown",
    "access:services",
    "access:servers",
    "read:roles",
    "read:metrics",
    "read:audit",
    "shares",
)
"""The scopes of the role `admin`, unfiltered."""

FILTERS: Final = frozenset({"user", "server", "group", "service"})


def _closure(name: str) -> frozenset[str]:
    return frozenset({name}).union(*(_closure(inner) for inner in SUBSCOPES[name]))


WITHIN: Final[dict[str, frozenset[str]]] = {name: _closure(name) for name in SUBSCOPES}
"""Each scope → itself and everything that it contains, at any depth."""
CONTAINERS: Final[dict[str, frozenset[str]]] = {
    name: frozenset(outer for outer in SUBSCOPES if name in WITHIN[outer]) for name in SUBSCOPES
}
"""Each scope → itself and everything that contains it."""


def granted(written: Iterable[str], owner: str) -> frozenset[str]:
    """Return what these scopes of a role give to `owner`, expanded.

    Open filters and `self` refer to the owner; without one (`""`) they give nothing.
    """
    return expand(resolved for scope in written for resolved in _resolve(scope, owner))


def of_server(written: Iterable[str], owner: str, server: str) -> frozenset[str]:
    """Return these scopes for the token of the server `server` (a key `user/name`) of `owner`, not expanded.

    `!server` refers to the server. `inherit` stays as it is: what the owner has is known when the token is used.
    """
    return frozenset(resolved for scope in written for resolved in _resolve(scope, owner, server=server))


def expand(scopes: Iterable[str]) -> frozenset[str]:
    """Return the scopes and everything that they contain, with filters. Unknown names and filters are dropped."""
    return frozenset(_join(inner, where) for name, where in _parsed(scopes) for inner in WITHIN[name])


def may(
    identity_scopes: frozenset[str],
    scope: str,
    *,
    user: str = "",
    server: str = "",
    groups: Iterable[str] = (),
    service: str = "",
) -> bool:
    """Return whether these scopes allow `scope` on this target. Without a target: on everything.

    `user` is the target user; `server` is a key `user/name` (`user/` is the default server); `groups` are the target
    user's groups, or the one target group.
    """
    where = [""]
    if user:
        where.append(f"!user={user}")
    if server:
        where += (f"!server={server}", f"!user={server.partition('/')[0]}")
    if service:
        where.append(f"!service={service}")
    where += [f"!group={group}" for group in groups]
    return any(name + place in identity_scopes for name in CONTAINERS.get(scope, frozenset()) for place in where)


def narrow(requested: Iterable[str], owner_scopes: frozenset[str], *, user: str = "") -> frozenset[str]:
    """Return the part of `requested` that is covered by `owner_scopes`.

    The metascopes `inherit` (all of the owner's scopes) and `self`, and the open filters `!user` and `!server`, are
    resolved for `user`, by default the user that `owner_scopes` are about. If only a part of a requested scope is
    covered, that part is granted.
    """
    owned: dict[str, set[str]] = {}
    for name, where in _parsed(owner_scopes):
        for inner in WITHIN[name]:
            owned.setdefault(inner, set()).add(where)
    owner = user or _owner(owner_scopes)
    granted: set[str] = set()
    for scope in requested:
        if scope == "inherit":
            return expand(owner_scopes)
        for name, where in _parsed(_resolve(scope, owner)):
            for inner in WITHIN[name]:
                common = (_common(where, have) for have in owned.get(inner, ()))
                granted.update(_join(inner, both) for both in common if both is not None)
    return frozenset(granted)


def identify(name: str, *, is_user: bool) -> tuple[str, ...]:
    """Return the scopes that every token has: those to identify its owner (JupyterHub's `identify_scopes`)."""
    if is_user:
        return (f"read:users:name!user={name}", f"read:users:groups!user={name}")
    return (f"read:services:name!service={name}",)


def known(scope: str) -> bool:
    """Return whether a scope exists, with its filter if it has one."""
    return scope in {"self", "inherit"} or any(True for _ in _parsed(_resolve(scope, "x", server="x/")))


def _resolve(scope: str, owner: str, *, server: str = "") -> list[str]:
    """Return the scope with metascopes and open filters resolved; nothing if that needs an owner and there is none."""
    if scope == "self":
        return [f"{name}!user={owner}" for name in SELF] if owner else []
    name, mark, where = scope.partition("!")
    if mark and where == "user":
        return [f"{name}!user={owner}"] if owner else []
    if mark and where == "server":
        return [f"{name}!server={server}"] if server else []
    return [scope]


def _owner(scopes: frozenset[str]) -> str:
    """Return the user that `users:activity` is filtered to; `""` if there is not exactly one.

    Users have that scope for themselves.
    """
    mine = {scope.partition("!user=")[2] for scope in scopes if scope.startswith("users:activity!user=")}
    return mine.pop() if len(mine) == 1 else ""


def _parsed(scopes: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the name and the filter (`user=alice`, or `""`) of each well-formed scope."""
    for scope in scopes:
        name, mark, where = scope.partition("!")
        key, equals, value = where.partition("=")
        if name in SUBSCOPES and (not mark or (key in FILTERS and equals and value)):
            yield name, where


def _join(name: str, where: str) -> str:
    return f"{name}!{where}" if where else name


def _common(one: str, other: str) -> str | None:
    """Return the narrower of two filters if it lies within the other, else None."""
    if not one or one == other:
        return other
    if not other:
        return one
    for outer, inner in ((one, other), (other, one)):
        if outer.startswith("user=") and inner.startswith(f"server={outer[5:]}/"):
            return inner
    return None
