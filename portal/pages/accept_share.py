"""The page for a share code: what it gives, and whether to accept it.

Owns `/hub/accept-share`. A GET gives nothing.
"""

from typing import Any

from litestar import Request, Response, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from portal.rights.access import signed_in
from portal.sharing import share_actions, share_models
from portal.site.site import Site
from portal.web.methods import read
from portal.web.next_url import safe_next
from portal.web.responses import arguments, go, page, read_form
from portal.web.routing import bound
from state.config.one_host import on_one_host
from state.errors import NotFoundError
from state.records.models import ShareCode, User
from state.records.readiness import is_ready
from state.rights.identity import Identity

CODE_MAX = 200


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""
    return [
        bound(site, read("/accept-share"), ask),
        bound(site, post("/accept-share"), accept),
    ]


def _need_session(request: Request[Any, Any, Any]) -> Identity:
    """Return the caller, who must use a browser. Raises 403."""
    identity = signed_in(request)
    if identity.session is None:
        raise HTTPException(status_code=403, detail="Sign in with a browser to accept an invitation.")
    return identity


async def _brought(site: Site, secret: str, me: User) -> ShareCode:
    """Return the share code. Raises 404, and 403 for the owner's own."""
    code = await site.store.shares.code(secret[:CODE_MAX]) if secret else None
    if code is None or await site.store.users.get(code.owner) is None:
        raise NotFoundError("This invitation is invalid or has expired. Ask for a new one.")
    if code.owner == me.name:
        raise HTTPException(status_code=403, detail="This invitation is for your own server. Give it to others.")
    return code


async def ask(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Ask whether to accept the invitation."""
    me = _need_session(request).user
    share_actions.check_hosts(site)
    query = arguments(request)
    code = await _brought(site, query.get("code", ""), me)
    shown = page(
        site,
        request,
        "accept-share.html",
        user=me,
        code=query["code"],
        owner=code.owner,
        name=code.server,
        may=share_models.permissions_text(code.scopes),
        expires=code.expires,
        one_host=on_one_host(site.config),
        next=safe_next(query.get("next"), site.base),
    )
    # The code is in this page's URL, and the next page may be the owner's app, which can log where requests came from.
    shown.headers["Referrer-Policy"] = "strict-origin"
    return shown


async def accept(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return 303 to `next`, else to the server, or home if it is not running."""
    identity = _need_session(request)
    share_actions.check_hosts(site)
    fields = await read_form(request)
    secret = fields.get("code", "")
    code = await _brought(site, secret, identity.user)
    await share_actions.accept(site, request, code, secret)
    server = await site.store.servers.get(code.owner, code.server)
    runs = server is not None and is_ready(server)
    default_url = site.server(code.owner, code.server) if runs else site.at("home", done="accepted")
    return go(safe_next(fields.get("next"), site.base) or default_url)
