"""The scopes of shares, and the models of shares and codes.

Owns the scopes that a share can have, and JupyterHub's models of shares and codes. Does not know requests or storage.
Source: JupyterHub 6.1, "Sharing access to user servers".
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import Struct

from portal.rights.access import View
from portal.site.site import Site
from portal.site.times import iso
from state.errors import InvalidError, NotAllowedError
from state.names import server_key, server_path
from state.records.models import Server, Share, ShareCode, User
from state.records.readiness import is_ready
from state.rights import scopes
from state.rights.identity import Identity

FULL: Final = "access:servers"
READING: Final = "read:access:servers"
SCOPES_MAX: Final = 20
BY_CODE: Final = " by code "
LEFT: Final = ", who left"
"""How the audit's entries of an accepted code, and of a recipient who left, are recognized."""
MORE: Final = (("start:servers", "start it"), ("delete:servers", "stop it"), ("shares", "share it with others"))
"""What a share can allow in addition to using the app."""


def filtered(requested: Iterable[str] | None, owner: str, server: str) -> tuple[str, ...]:
    """Return the scopes of a share, each with the filter of its server; none given: full access.

    Raises InvalidError.
    """
    where = f"server={server_key(owner, server)}"
    found = set()
    for scope in tuple(requested or ()) or (FULL,):
        name, mark, scope_filter = scope.partition("!")
        if name not in scopes.SUBSCOPES:
            raise InvalidError(f"The scope {scope[:100]!r} does not exist.")
        if mark and scope_filter != where:
            raise InvalidError(f"A share of this server can only have the filter !{where}.")
        found.add(f"{name}!{where}")
    if len(found) > SCOPES_MAX:
        raise InvalidError(f"A share can have at most {SCOPES_MAX} scopes.")
    return tuple(sorted(found))


def check_own(identity: Identity, shared: Iterable[str], owner: User, server: str) -> None:
    """Raise NotAllowedError if the caller would grant what they do not have."""
    view = View(identity)
    for scope in shared:
        if not view(scope.partition("!")[0], owner, server):
            raise NotAllowedError(f"You cannot grant {scope}, because you do not have it.")


def share_model(site: Site, share: Share, servers: Mapping[str, Server]) -> dict[str, Any]:
    """Return the model of a share. `servers`: the records by their keys, if they exist."""
    return {
        "server": _server_model(site, share.owner, share.server, servers),
        "scopes": list(share.scopes),
        "user": {"name": share.user} if share.user else None,
        "group": {"name": share.group} if share.group else None,
        "kind": "user" if share.user else "group",
        "created_at": iso(share.created),
    }


def code_model(site: Site, code: ShareCode, servers: Mapping[str, Server], *, secret: str = "") -> dict[str, Any]:
    """Return the model of a code; with its `secret`, which is known only at its creation, also the URL to accept it."""
    model = {
        "server": _server_model(site, code.owner, code.server, servers),
        "scopes": list(code.scopes),
        "id": code.id,
        "created_at": iso(code.created),
        "expires_at": iso(code.expires),
        "exchange_count": code.used,
        "last_exchanged_at": iso(code.last_used),
    }
    if secret:
        url = site.at("accept-share", code=secret)
        full = site.public_url + url if site.public_url else None
        model |= {"code": secret, "accept_url": url, "full_accept_url": full}
    return model


def permissions_text(shared: Iterable[str]) -> str:
    """Describe what a share allows, for the user who is about to accept it."""
    held = _within(shared)
    phrases = []
    if FULL in held:
        phrases.append("use it as its owner does: read and change files, and run code in the owner's name")
    elif READING in held:
        phrases.append("view it, but not change or run anything")
    return "; ".join([*phrases, *_more(held)]) or "see whether it is running"


def in_short(shared: Iterable[str]) -> str:
    """Describe a share briefly for a table: `full`, `read-only, start it`."""
    held = _within(shared)
    labels = ["full"] if FULL in held else ["read-only"] if READING in held else []
    return ", ".join([*labels, *_more(held)]) or "see it"


def opens(shared: Iterable[str]) -> bool:
    """Return whether a share gives access to the app, full or read-only."""
    return READING in _within(shared)


def beyond_reading(shared: Iterable[str]) -> tuple[str, ...]:
    """Return those of a share's scopes that give full access."""
    return tuple(scope for scope in shared if FULL in _within([scope]))


class Guest(Struct, frozen=True, kw_only=True):
    """A server that others share with a user.

    `groups`: with which of the user's groups; `own`: with the user by name.
    """

    owner: str
    server: str
    scopes: tuple[str, ...]
    groups: tuple[str, ...]
    own: bool


def by_server(shares: Iterable[Share]) -> list[Guest]:
    """Return what is shared with a user and their groups, each server once, by owner and name."""
    found: dict[tuple[str, str], list[Share]] = {}
    for share in shares:
        found.setdefault((share.owner, share.server), []).append(share)
    return [
        Guest(
            owner=owner,
            server=server,
            scopes=tuple(sorted({scope for share in of_server for scope in share.scopes})),
            groups=tuple(share.group for share in of_server if share.group),
            own=any(share.user for share in of_server),
        )
        for (owner, server), of_server in sorted(found.items())
    ]


def _within(shared: Iterable[str]) -> frozenset[str]:
    """Return the names of these scopes and of everything that they contain."""
    return frozenset[str]().union(*(scopes.WITHIN[scope.partition("!")[0]] for scope in shared))


def _more(held: frozenset[str]) -> list[str]:
    return [phrase for scope, phrase in MORE if scope in held]


def _server_model(site: Site, owner: str, server: str, servers: Mapping[str, Server]) -> dict[str, Any]:
    """Return the model of a server for users that it is shared with."""
    record = servers.get(server_key(owner, server))
    url = server_path(site.base, owner, server)
    return {
        "user": {"name": owner},
        "name": server,
        "url": url,
        "full_url": site.public_url + url if site.public_url else None,
        "ready": record is not None and is_ready(record),
    }
