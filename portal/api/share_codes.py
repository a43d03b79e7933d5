"""Share codes: whoever brings one gets a share.

Owns: `/share-codes`. Refuses to know the page where a code is accepted (`portal.pages.accept_share`).
"""

import secrets
from typing import Any, Final

import msgspec
from litestar import Request, Response, delete, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from portal import audit, sharing
from portal.api.shares import need_server, one_server, server_of
from portal.paging import listed, page_of
from portal.replies import arguments, empty, read_json, reply
from portal.site import Site
from portal.verbs import read
from state.audit import Act
from state.errors import NotFoundError
from state.names import server_key
from state.records import ShareCode

PATHS = ["/share-codes/{owner:str}", "/share-codes/{owner:str}/{server:str}"]
DAY: Final = 86400
LEAST, MOST = 60, 365 * DAY


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """What the code gives, and for how many seconds."""

    scopes: list[str] | None = None
    expires_in: int = DAY


def routes(site: Site) -> list[HTTPRouteHandler]:
    """The handlers."""
    store = site.store

    @read(PATHS)
    async def every(request: Request[Any, Any, Any]) -> Response[bytes]:
        owner, server = request.path_params["owner"], server_of(request)
        await need_server(site, request, "read:shares", owner, server)
        page = page_of(request, always=True)
        codes = await store.shares.codes(owner, server)
        wanted = codes[page.offset : page.end]
        servers = await store.servers.many([server_key(code.owner, code.server) for code in wanted])
        return listed(site, request, page, [sharing.code_model(site, code, servers) for code in wanted], len(codes))

    @post(PATHS, status_code=200)
    async def make(request: Request[Any, Any, Any]) -> Response[bytes]:
        """With the code itself, this one time."""
        owner, server = request.path_params["owner"], one_server(request)
        identity, user = await need_server(site, request, "shares", owner, server)
        wish = await read_json(request, Wish) or Wish()
        if not LEAST <= wish.expires_in <= MOST:
            raise HTTPException(status_code=400, detail=f"expires_in is from {LEAST} to {MOST} seconds.")
        scopes = sharing.filtered(wish.scopes, owner, server)
        sharing.check_own(identity, scopes, user, server)
        now = site.clock()
        code = ShareCode(
            id=f"sc_{secrets.token_hex(8)}",
            owner=owner,
            server=server,
            scopes=scopes,
            created=now,
            expires=now + wish.expires_in,
        )
        secret = await store.shares.issue_code(code)
        what = f"code {code.id}: {' '.join(scopes)}"
        await audit.note(store, request, Act.SHARE_MADE, user=owner, server=server, what=what)
        servers = await store.servers.many([server_key(owner, server)])
        return reply(sharing.code_model(site, code, servers, secret=secret))

    @delete(PATHS, status_code=200)
    async def end(request: Request[Any, Any, Any]) -> Response[bytes]:
        """`?id=` or `?code=`: that one; neither: all of the server's. Shares that were made of it stay."""
        owner, server = request.path_params["owner"], one_server(request)
        await need_server(site, request, "shares", owner, server)
        asked = arguments(request)
        codes = await store.shares.codes(owner, server)
        if asked.get("code"):
            brought = await store.shares.code(asked["code"])
            codes = [code for code in codes if brought is not None and code.id == brought.id]
        elif asked.get("id"):
            codes = [code for code in codes if code.id == asked["id"]]
        if not codes and (asked.get("code") or asked.get("id")):
            raise NotFoundError("There is no such code.")
        for code in codes:
            await store.shares.end_code(code)
            await audit.note(store, request, Act.SHARE_REVOKED, user=owner, server=server, what=f"code {code.id}")
        return empty(204)

    return [every, make, end]
