"""Signing out: asked for with a button, confirmed when it is only an address, and told of by a provider.

Owns: `/hub/logout`, `/hub/signed-out` and `/hub/backchannel-logout`. Refuses to know sessions: `portal.site.sign_in`
ends them.
"""

from typing import Any

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from portal.rights.access import caller
from portal.site.sign_in import RefusedError
from portal.site.site import Site
from portal.web.methods import read
from portal.web.responses import empty, go, page, read_open_form, reply


def routes(site: Site) -> list[HTTPRouteHandler]:
    """The handlers."""

    @read("/logout")
    async def ask(request: Request[Any, Any, Any]) -> Response[bytes]:
        """A link on another site must not sign users out, so this asks first.

        *Log Out* in JupyterLab leads here from the user's own server, and signs out at once.
        """
        identity = caller(request)
        if identity is not None and _is_from_here(request):
            return await _sign_out(site, request)
        return page(site, request, "logout.html", user=identity.user) if identity else go(_after(site), status=302)

    @post("/logout")
    async def leave(request: Request[Any, Any, Any]) -> Response[bytes]:
        """The button's."""
        return await _sign_out(site, request)

    @read("/signed-out")
    async def signed_out(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Public. The address to which a provider sends people back who have signed out there."""
        if caller(request) is not None:
            return go(site.at("home"), status=302)
        return page(site, request, "signed_out.html", user=None)

    @post("/backchannel-logout/{provider:str}")
    async def told(request: Request[Any, Any, Any]) -> Response[bytes]:
        """By the provider itself (OpenID Connect Back-Channel Logout 1.0 sections 2.5 to 2.8)."""
        fields = await read_open_form(request)
        try:
            await site.auth.ended_there(request.path_params["provider"], fields.get("logout_token", ""))
        except RefusedError as error:
            return reply({"error": "invalid_request", "error_description": str(error)}, 400)
        return empty(200)

    return [ask, leave, signed_out, told]


def _is_from_here(request: Request[Any, Any, Any]) -> bool:
    """Return whether the browser came from a page of the hub or of a server (Fetch Metadata, W3C).

    `same-site`: servers may have hosts of their own below the hub's.
    """
    headers = request.headers
    return (
        request.method == "GET"
        and headers.get("sec-fetch-site") in {"same-origin", "same-site"}
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )


def _after(site: Site) -> str:
    """Return where users are who have signed out: not where they would be signed in again at once."""
    away = any(provider.form == "link" for provider in site.auth.providers)
    return site.at("signed-out") if away else site.at("login")


async def _sign_out(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Sign out. Where the provider has a page for it, the browser goes on to that.

    By a page of ours, not by a redirect: `form-action` of our own pages holds for what a form leads to.
    """
    if caller(request) is None:
        return go(_after(site))
    onward = await site.auth.farewell(request)
    cookie = await site.auth.close_session(request)
    if not onward:
        return go(_after(site), cookie=cookie)
    answer = page(site, request, "leaving.html", user=None, onward=onward)
    answer.headers["Set-Cookie"] = cookie
    return answer
