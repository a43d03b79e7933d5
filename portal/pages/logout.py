"""Signing out: asked for with a button, confirmed when it is only an address.

Owns: `/hub/logout`. Refuses to know sessions: `portal.auth` ends them.
"""

from typing import Any

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from portal.access import caller
from portal.replies import go, page
from portal.site import Site
from portal.verbs import read


def routes(site: Site) -> list[HTTPRouteHandler]:
    """The handlers."""

    @read("/logout")
    async def ask(request: Request[Any, Any, Any]) -> Response[bytes]:
        """A link must not sign anybody out: it asks first."""
        identity = caller(request)
        return page(site, "logout.html", user=identity.user) if identity else go(site.at("login"), status=302)

    @post("/logout")
    async def leave(request: Request[Any, Any, Any]) -> Response[bytes]:
        if caller(request) is None:
            return go(site.at("login"))
        return go(site.at("login"), cookie=await site.auth.close_session(request))

    return [ask, leave]
