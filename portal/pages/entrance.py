"""Entry from the hub's own host to that of a user's servers (`[gateway] user_domain`).

Owns `/hub/entrance` (on the hub's host: a signed-in user gets a one-time code) and `/hub/enter` (on the other host: the
code becomes a token for these servers only). Does not know hosts: the gateway serves each URL on its own.

The code is bound to the browser that requested it, by a cookie of the host that it leads to, so that a link cannot sign
in anyone as another user. The token is revoked with the session that it came from.
"""

import hashlib
import hmac
import re
from typing import Any, Final
from urllib.parse import unquote

from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from portal.rights.access import signed_in
from portal.site.site import Site
from portal.users import token_actions
from portal.web.methods import read
from portal.web.next_url import safe_next
from portal.web.responses import arguments, go
from portal.web.routing import bound
from state.config.origins import Origins, label
from state.records.models import Entrance

STATE: Final = re.compile(r"[0-9a-f]{64}")
AGAIN: Final = "This link was already used, or was opened in another browser. Open your server again."


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""
    if not site.config.gateway.user_domain:
        return []
    return [
        bound(site, read("/entrance"), lead),
        bound(site, read("/enter"), enter),
    ]


async def lead(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Handle the part on the hub's host."""
    identity = signed_in(request)
    query = arguments(request)
    onward = safe_next(query.get("next"), site.base)
    state = query.get("state", "")
    users = f"{site.base}user/"
    if not onward.startswith(users) or not STATE.fullmatch(state):
        raise HTTPException(status_code=400, detail="This is not the URL of a server.")
    if identity.session is None:
        raise HTTPException(status_code=403, detail="A browser is let in here; a token is sent to the server itself.")
    owner = unquote(re.split(r"[/?]", onward.removeprefix(users), maxsplit=1)[0])
    code = await site.store.entries.issue(
        Entrance(
            user=identity.user.name,
            owner=owner,
            under=identity.digest,
            session_id=identity.session.id,
            state=state,
            next=onward,
        )
    )
    return go(f"{Origins(site.config.gateway).of(owner)}{site.at('enter', code=code)}", status=302)


async def enter(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Handle the part on the host of a user's servers."""
    code = arguments(request).get("code", "")
    found = await site.store.entries.take(code) if 0 < len(code) <= 128 else None  # noqa: PLR2004 - characters
    host = request.headers.get("host", "").lower().partition(":")[0].encode()
    brought = site.auth.entrance(request)
    if (
        found is None
        or not brought
        or label(found.owner) != Origins(site.config.gateway).label_in(host)
        or not hmac.compare_digest(hashlib.sha256(brought.encode()).hexdigest(), found.state)
    ):
        raise HTTPException(status_code=400, detail=AGAIN)
    lifetime = site.config.auth.session_lifetime if site.config.auth else 14 * 24 * 3600
    if await site.store.sessions.get(found.under) is None:  # signed out meanwhile
        raise HTTPException(status_code=400, detail=AGAIN)
    secret = await token_actions.issue_for_origin(site, found, lifetime=lifetime)
    return go(found.next, status=302, cookie=site.auth.origin_cookie(secret, lifetime=lifetime))
