"""The API of share codes, which give a share to each user who accepts one.

Owns `/share-codes`. Does not know how shares work (`portal.sharing.share_actions`), and the page where a code is
accepted (`portal.pages.accept_share`).
"""

from typing import Any

import msgspec
from litestar import Request, Response, delete, post
from litestar.handlers import HTTPRouteHandler

from portal.api.shares import one_server, server_of
from portal.sharing import share_actions, share_models
from portal.site.site import Site
from portal.web.methods import read
from portal.web.pagination import listed, page_of
from portal.web.responses import arguments, empty, read_json, reply
from state.names import server_key

PATHS = ["/share-codes/{owner:str}", "/share-codes/{owner:str}/{server:str}"]


class ShareCodeRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The scopes of the code, and its lifetime in seconds."""

    scopes: list[str] | None = None
    expires_in: int = share_actions.DAY


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""
    store = site.store

    @read(PATHS)
    async def every(request: Request[Any, Any, Any]) -> Response[bytes]:
        owner, server = request.path_params["owner"], server_of(request)
        await share_actions.need_server(site, request, "read:shares", owner, server)
        page = page_of(request, always=True)
        codes = await store.shares.codes(owner, server)
        shown = codes[page.offset : page.end]
        servers = await store.servers.many([server_key(code.owner, code.server) for code in shown])
        return listed(site, request, page, [share_models.code_model(site, code, servers) for code in shown], len(codes))

    @post(PATHS, status_code=200)
    async def make(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Returns the code itself, which is never shown again."""
        owner, server = request.path_params["owner"], one_server(request)
        _, user = await share_actions.need_server(site, request, "shares", owner, server)
        body = await read_json(request, ShareCodeRequest) or ShareCodeRequest()
        code, secret = await share_actions.make_code(
            site, request, user, server, requested=body.scopes or (), expires_in=body.expires_in
        )
        servers = await store.servers.many([server_key(owner, server)])
        return reply(share_models.code_model(site, code, servers, secret=secret))

    @delete(PATHS, status_code=200)
    async def end(request: Request[Any, Any, Any]) -> Response[bytes]:
        """`?id=` or `?code=`: that code; neither: all codes of the server. Existing shares stay."""
        owner, server = request.path_params["owner"], one_server(request)
        _, user = await share_actions.need_server(site, request, "shares", owner, server)
        query = arguments(request)
        await share_actions.end_codes(
            site, request, user, server, code_id=query.get("id", ""), secret=query.get("code", "")
        )
        return empty(204)

    return [every, make, end]
