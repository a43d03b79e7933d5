"""Redirects: `/`, `/hub`, `/hub/user/...`, `/hub/user-redirect/...`; and the error pages by number.

Owns JupyterHub's redirects. Never redirects to another site.
"""

import re
from typing import Any
from urllib.parse import unquote

from litestar import Request, Response
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler

from portal.refusals.pages import error_page, error_text
from portal.rights.access import caller, signed_in
from portal.site.site import PAGE_HEADERS, Site
from portal.web.methods import read
from portal.web.next_url import safe_next
from portal.web.responses import arguments, go, raw_target
from state.records.readiness import is_ready


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers under /hub."""

    @read("/", sync_to_thread=False)
    def start(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Redirect to `next` or to the home page, or to the sign-in page first."""
        next_url = safe_next(arguments(request).get("next"), site.base)
        if caller(request) is None:
            return go(site.at("login", next=next_url), status=302)
        return go(next_url or site.at("home"), status=302)

    @read("/user/{rest:path}", sync_to_thread=False)
    def user(request: Request[Any, Any, Any]) -> Response[bytes]:
        """JupyterHub's URL of a server that is not running: redirect to the server's own URL."""
        signed_in(request)
        onward = safe_next(site.base + raw_target(request).removeprefix(site.hub), site.base)
        if not onward:
            raise NotFoundException
        return go(onward, status=302)

    @read(["/user-redirect", "/user-redirect/{rest:path}"])
    async def mine(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Redirect to the user's own server, or to the form if it is not running. The URL is the same for all users.

        If the user has a server named like the first segment, the URL leads to that server.
        """
        me = signed_in(request).user
        tail = raw_target(request).removeprefix(f"{site.hub}user-redirect").removeprefix("/")
        onward = safe_next(site.server(me.name, "") + tail, site.base)
        if not onward:
            raise NotFoundException
        segment = unquote(re.split(r"[/?]", tail, maxsplit=1)[0])
        named = await site.store.servers.get(me.name, segment) if segment else None
        record = named or await site.store.servers.get(me.name, "")
        if record is not None and is_ready(record):
            return go(onward, status=302)
        return go(site.at("spawn", me.name, segment if named else "", next=onward), status=302)

    @read("/error/{status:int}", sync_to_thread=False)
    def error(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Public: the error page with this status."""
        status = request.path_params["status"]
        known = status if 400 <= status < 600 and error_text(status) else 404  # noqa: PLR2004 - HTTP
        return Response(error_page(site, known), status_code=known, media_type="text/html", headers=PAGE_HEADERS)

    @read("/logo", sync_to_thread=False)
    def logo() -> Response[bytes]:
        """Public: the logo, where single-user servers look for it."""
        return go(site.statics.url("mark.svg"), status=302)

    return [start, user, mine, error, logo]


def at_the_root(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers at the base path itself."""

    @read("/", sync_to_thread=False, include_in_schema=False)
    def root() -> Response[bytes]:
        """Public: redirect to the hub."""
        return go(site.hub, status=302)

    @read("/favicon.ico", sync_to_thread=False, include_in_schema=False)
    def favicon() -> Response[bytes]:
        """Public: browsers ask here for the icon of pages that name none, such as an app's download."""
        return go(site.statics.url("mark.svg"), status=302)

    return [root, favicon]
