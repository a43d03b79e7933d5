"""Shares of servers, as their owners have them: list, give, take away.

Owns: `/shares`. Refuses to know codes (`portal.api.share_codes`), and how those see it whom a share is for
(`portal.api.shared`).
"""

from typing import Any

import msgspec
from litestar import Request, Response, delete, patch, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from portal import audit, sharing
from portal.access import View, need_anywhere, need_user
from portal.paging import Page, listed, page_of
from portal.replies import empty, read_json, reply, with_slash
from portal.site import Site
from portal.verbs import read
from state.audit import Act
from state.errors import NotFoundError
from state.identity import Identity
from state.names import server_key
from state.records import Share, User

READ_USER = "read:users:name"
READ_GROUP = "read:groups:name"
PATHS = ["/shares/{owner:str}", "/shares/{owner:str}/{server:str}"]


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """To whom, and what. Exactly one of `user` and `group`."""

    user: str | None = None
    group: str | None = None
    scopes: list[str] | None = None


def server_of(request: Request[Any, Any, Any]) -> str | None:
    """The server that a path is about: `/shares/ann/lab`, `/shares/ann/` (the default one); None: `/shares/ann`."""
    name: str | None = request.path_params.get("server")
    return "" if name is None and with_slash(request) else name


def one_server(request: Request[Any, Any, Any]) -> str:
    """The same, where the path must be about one. Raises 405, and 403 first for a caller who may share nothing."""
    need_anywhere(request, "shares")
    server = server_of(request)
    if server is None:
        raise HTTPException(status_code=405, detail="Name a server: only a list is of all of them.")
    return server


async def need_server(
    site: Site, request: Request[Any, Any, Any], scope: str, owner: str, server: str | None
) -> tuple[Identity, User]:
    """The caller, and the owner of the server (None: of all of theirs) to which they do this. Raises 403 and 404."""
    found = await need_user(site, request, scope, owner, server)
    if server is not None and await site.store.servers.get(owner, server) is None:
        raise NotFoundError(f"{owner} has no server named {server!r}.")
    return found


async def answer(site: Site, request: Request[Any, Any, Any], page: Page, shares: list[Share]) -> Response[bytes]:
    """A page of shares."""
    wanted = shares[page.offset : page.end]
    servers = await site.store.servers.many([server_key(share.owner, share.server) for share in wanted])
    return listed(site, request, page, [sharing.share_model(site, share, servers) for share in wanted], len(shares))


async def one(site: Site, share: Share | None) -> dict[str, Any]:
    """The model of one share; None: an empty object."""
    if share is None:
        return {}
    servers = await site.store.servers.many([server_key(share.owner, share.server)])
    return sharing.share_model(site, share, servers)


def routes(site: Site) -> list[HTTPRouteHandler]:
    """The handlers."""
    store = site.store

    @read(PATHS)
    async def every(request: Request[Any, Any, Any]) -> Response[bytes]:
        owner, server = request.path_params["owner"], server_of(request)
        await need_server(site, request, "read:shares", owner, server)
        return await answer(site, request, page_of(request, always=True), await store.shares.of_owner(owner, server))

    @post(PATHS, status_code=200)
    async def give(request: Request[Any, Any, Any]) -> Response[bytes]:
        """What is there already is added to."""
        owner, server = request.path_params["owner"], one_server(request)
        identity, user = await need_server(site, request, "shares", owner, server)
        wish = _checked(await read_json(request, Wish))
        scopes = sharing.filtered(wish.scopes, owner, server)
        sharing.check_own(identity, scopes, user, server)
        await _check_recipient(site, identity, owner, wish)
        share = Share(
            owner=owner,
            server=server,
            user=wish.user or "",
            group=wish.group or "",
            scopes=scopes,
            created=site.clock(),
        )
        given = await store.shares.grant(share)
        what = f"to {given.key}: {' '.join(given.scopes)}"
        await audit.note(store, request, Act.SHARE_MADE, user=owner, server=server, what=what)
        return reply(await one(site, given))

    @patch(PATHS)
    async def take(request: Request[Any, Any, Any]) -> Response[bytes]:
        """What is left; an empty object: nothing. Of somebody who is not there nothing is left either."""
        owner, server = request.path_params["owner"], one_server(request)
        await need_server(site, request, "shares", owner, server)
        wish = _checked(await read_json(request, Wish))
        scopes = sharing.filtered(wish.scopes, owner, server) if wish.scopes else ()
        share = Share(
            owner=owner, server=server, user=wish.user or "", group=wish.group or "", scopes=scopes, created=0.0
        )
        left = await store.shares.revoke(share, scopes)
        await audit.note(store, request, Act.SHARE_REVOKED, user=owner, server=server, what=f"of {share.key}")
        return reply(await one(site, left))

    @delete(PATHS, status_code=200)
    async def take_all(request: Request[Any, Any, Any]) -> Response[bytes]:
        owner, server = request.path_params["owner"], one_server(request)
        await need_server(site, request, "shares", owner, server)
        await store.shares.remove_shares(owner, server)
        await audit.note(store, request, Act.SHARE_REVOKED, user=owner, server=server, what="of everybody")
        return empty(204)

    return [every, give, take, take_all]


def _checked(wish: Wish | None) -> Wish:
    """Raises 400 unless exactly one of `user` and `group` is named."""
    if wish is None or bool(wish.user) == bool(wish.group):
        raise HTTPException(status_code=400, detail="Name exactly one of user and group.")
    return wish


async def _check_recipient(site: Site, identity: Identity, owner: str, wish: Wish) -> None:
    """Whether they are there. Raises 403 for a caller who may not know, 400."""
    view = View(identity)
    if wish.user:
        user = await site.store.users.get(wish.user)
        if not view(READ_USER, user or User(name=wish.user, created=0.0), None):
            raise HTTPException(status_code=403, detail=f"To share with users by name needs {READ_USER}.")
        if user is None:
            raise HTTPException(status_code=400, detail=f"No such user: {wish.user}")
        if user.name == owner:
            raise HTTPException(status_code=400, detail="It is theirs already.")
    elif wish.group:
        if not view.group(READ_GROUP, wish.group):
            raise HTTPException(status_code=403, detail=f"To share with groups by name needs {READ_GROUP}.")
        if await site.store.groups.get(wish.group) is None:
            raise HTTPException(status_code=400, detail=f"No such group: {wish.group}")
