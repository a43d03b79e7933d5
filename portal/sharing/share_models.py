"""Sharing a server: what may be given, and in which shape it is told.

Owns: the scopes of a share, and JupyterHub's models of shares and codes. Refuses to know requests and storage.
Source: JupyterHub 6.1, "Sharing access to user servers".
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from litestar.exceptions import HTTPException
from msgspec import Struct

from portal.rights.access import View
from portal.site.site import Site
from portal.site.times import iso
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
"""How the audit's entries of a code that was accepted, and of somebody who left, are told from others."""
MORE: Final = (("start:servers", "start it"), ("delete:servers", "stop it"), ("shares", "share it with others"))
"""What a share may let somebody do beside using the app."""


def filtered(wanted: Iterable[str] | None, owner: str, server: str) -> tuple[str, ...]:
    """The scopes of a share, each with the filter of its server; none named: full access. Raises 400."""
    where = f"server={server_key(owner, server)}"
    found = set()
    for scope in tuple(wanted or ()) or (FULL,):
        name, mark, given = scope.partition("!")
        if name not in scopes.SUBSCOPES:
            raise HTTPException(status_code=400, detail=f"There is no scope {scope[:100]!r}.")
        if mark and given != where:
            raise HTTPException(status_code=400, detail=f"A share of this server has no other filter than !{where}.")
        found.add(f"{name}!{where}")
    if len(found) > SCOPES_MAX:
        raise HTTPException(status_code=400, detail=f"At most {SCOPES_MAX} scopes.")
    return tuple(sorted(found))


def check_own(identity: Identity, shared: Iterable[str], owner: User, server: str) -> None:
    """Raises 403 where the caller would give what they do not have."""
    view = View(identity)
    for scope in shared:
        if not view(scope.partition("!")[0], owner, server):
            raise HTTPException(status_code=403, detail=f"You cannot give {scope}: you do not have it.")


def share_model(site: Site, share: Share, servers: Mapping[str, Server]) -> dict[str, Any]:
    """A share. `servers`: the records by their keys, as far as they are there."""
    return {
        "server": _server_model(site, share.owner, share.server, servers),
        "scopes": list(share.scopes),
        "user": {"name": share.user} if share.user else None,
        "group": {"name": share.group} if share.group else None,
        "kind": "user" if share.user else "group",
        "created_at": iso(share.created),
    }


def code_model(site: Site, code: ShareCode, servers: Mapping[str, Server], *, secret: str = "") -> dict[str, Any]:
    """A code; with its `secret`, which is known only when it is made, also where to go with it."""
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


def in_words(shared: Iterable[str]) -> str:
    """What a share lets somebody do, for the one who is about to accept it."""
    held = _within(shared)
    words = []
    if FULL in held:
        words.append("use it as its owner does: read and change files, and run code in the owner's name")
    elif READING in held:
        words.append("look at it: read what it shows, change and run nothing")
    return "; ".join([*words, *_more(held)]) or "see that it is there, and whether it runs"


def in_short(shared: Iterable[str]) -> str:
    """The same in a word or two, for a table: `full`, `read-only, start it`."""
    held = _within(shared)
    words = ["full"] if FULL in held else ["read-only"] if READING in held else []
    return ", ".join([*words, *_more(held)]) or "see that it is there"


def opens(shared: Iterable[str]) -> bool:
    """Whether a share lets somebody into the app, in full or to look."""
    return READING in _within(shared)


def beyond_reading(shared: Iterable[str]) -> tuple[str, ...]:
    """Those of a share's scopes that give full access."""
    return tuple(scope for scope in shared if FULL in _within([scope]))


class Guest(Struct, frozen=True, kw_only=True):
    """A server that others have shared with somebody. `groups`: by which of theirs; `own`: with them by name."""

    owner: str
    server: str
    scopes: tuple[str, ...]
    groups: tuple[str, ...]
    own: bool


def by_server(shares: Iterable[Share]) -> list[Guest]:
    """What somebody and their groups were given, each server once, by owner and name."""
    found: dict[tuple[str, str], list[Share]] = {}
    for share in shares:
        found.setdefault((share.owner, share.server), []).append(share)
    return [
        Guest(
            owner=owner,
            server=server,
            scopes=tuple(sorted({scope for share in given for scope in share.scopes})),
            groups=tuple(share.group for share in given if share.group),
            own=any(share.user for share in given),
        )
        for (owner, server), given in sorted(found.items())
    ]


def _within(shared: Iterable[str]) -> frozenset[str]:
    """The names of these scopes and of all that they contain."""
    return frozenset[str]().union(*(scopes.WITHIN[scope.partition("!")[0]] for scope in shared))


def _more(held: frozenset[str]) -> list[str]:
    return [words for scope, words in MORE if scope in held]


def _server_model(site: Site, owner: str, server: str, servers: Mapping[str, Server]) -> dict[str, Any]:
    """What of a server those see with whom it is shared."""
    record = servers.get(server_key(owner, server))
    url = server_path(site.base, owner, server)
    return {
        "user": {"name": owner},
        "name": server,
        "url": url,
        "full_url": site.public_url + url if site.public_url else None,
        "ready": record is not None and is_ready(record),
    }
