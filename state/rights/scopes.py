"""What somebody may do: JupyterHub's scopes.

Owns: the names, what each contains, the filters, and the rule that a token never gains what its maker does not
have. Refuses to know who asks and by what. Pure.

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
"""Every scope but the metascopes `self` and `inherit`, with what it contains.

Towpath's own: `read:access:servers`, to look at what a server shows, and no more (docs/sharing.md); `read:audit`.
"""

SELF: Final = (
    "read:users",
    "users:activity",
    "users:shares",
    "read:shares",
    "servers",
    "tokens",
    "access:servers",
    "read:audit",
)
"""What `self` means, each filtered to the owner. The role `user` has `self` and nothing else."""

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
"""What the role `admin` has, without a filter."""

FILTERS: Final = frozenset({"user", "server", "group", "service"})


def _closure(name: str) -> frozenset[str]:
    return frozenset({name}).union(*(_closure(inner) for inner in SUBSCOPES[name]))


WITHIN: Final[dict[str, frozenset[str]]] = {name: _closure(name) for name in SUBSCOPES}
"""A scope and all that it contains, at any depth."""
CONTAINERS: Final[dict[str, frozenset[str]]] = {
    name: frozenset(outer for outer in SUBSCOPES if name in WITHIN[outer]) for name in SUBSCOPES
}
"""A scope and all that contain it."""


def granted(written: Iterable[str], owner: str) -> frozenset[str]:
    """What these scopes of a role give to `owner` (`""`: no user), expanded; open filters and `self` are theirs."""
    return expand(resolved for scope in written for resolved in _resolve(scope, owner))


def expand(scopes: Iterable[str]) -> frozenset[str]:
    """The scopes with all that they contain, filters kept. Unknown names and filters are left out."""
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
    """Whether these scopes allow `scope` on this target; no target: on everything.

    `user` is the user that it is done to; `server` is a key `user/name` (`user/` is the default server);
    `groups` are the user's, or the one group that it is done to.
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
    """What is left of `requested` for somebody who has `owner_scopes`: never more than those.

    The metascopes `inherit` (all of them) and `self`, and the open filters `!user` and `!server`, are resolved for
    `user`, who by default is the one that `owner_scopes` speak of. Where only a part of what was asked for is owned,
    that part is granted.
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


def identify(name: str, *, person: bool) -> tuple[str, ...]:
    """What every token has of its owner, whatever it was made for: who that is (JupyterHub's `identify_scopes`)."""
    if person:
        return (f"read:users:name!user={name}", f"read:users:groups!user={name}")
    return (f"read:services:name!service={name}",)


def known(scope: str) -> bool:
    """Whether this is a scope that there is: its name, and its filter where it has one."""
    return scope in {"self", "inherit"} or any(True for _ in _parsed(_resolve(scope, "x")))


def _resolve(scope: str, owner: str) -> list[str]:
    """The scope without metascopes and open filters; nothing when it needs an owner and there is none."""
    if scope == "self":
        return [f"{name}!user={owner}" for name in SELF] if owner else []
    name, mark, where = scope.partition("!")
    if mark and where == "user":
        return [f"{name}!user={owner}"] if owner else []
    return [scope]


def _owner(scopes: frozenset[str]) -> str:
    """The user of whom `users:activity` is owned: a person has it of themselves. Empty: not one alone."""
    mine = {scope.partition("!user=")[2] for scope in scopes if scope.startswith("users:activity!user=")}
    return mine.pop() if len(mine) == 1 else ""


def _parsed(scopes: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Name and filter (`user=alice`, or nothing) of each scope that is well formed."""
    for scope in scopes:
        name, mark, where = scope.partition("!")
        key, equals, value = where.partition("=")
        if name in SUBSCOPES and (not mark or (key in FILTERS and equals and value)):
            yield name, where


def _join(name: str, where: str) -> str:
    return f"{name}!{where}" if where else name


def _common(one: str, other: str) -> str | None:
    """The narrower of two filters when it lies within the other; None when neither does."""
    if not one or one == other:
        return other
    if not other:
        return one
    for outer, inner in ((one, other), (other, one)):
        if outer.startswith("user=") and inner.startswith(f"server={outer[5:]}/"):
            return inner
    return None
