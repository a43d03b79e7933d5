"""Signing out: by a button, by a link, and when a provider says so.

Owns `/hub/logout`, `/hub/signed-out` and `/hub/backchannel-logout`. `portal.site.sign_in` ends the sessions.
"""

from typing import Any

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from portal.rights.access import caller
from portal.site.sign_in import RefusedError
from portal.site.site import Site
from portal.web.clicks import by_this_site
from portal.web.methods import read
from portal.web.responses import empty, go, page, read_open_form, reply
from portal.web.routing import bound


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""
    return [
        bound(site, read("/logout"), follow_link),
        bound(site, post("/logout"), sign_out),
        bound(site, read("/signed-out"), signed_out),
        bound(site, post("/backchannel-logout/{provider:str}"), ended_at_provider),
    ]


async def follow_link(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Sign out at once, as JupyterHub does. A link from another site asks first, so that no page signs users out.

    *Log Out* in JupyterLab leads here from the user's own server.
    """
    identity = caller(request)
    if identity is None:
        return go(_signed_out_url(site), status=302)
    if request.method == "GET" and by_this_site(request.headers):
        return await sign_out(site, request)
    return page(site, request, "logout.html", user=identity.user)


async def sign_out(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """End the session, and go on to the provider's sign-out page if it has one.

    The browser gets there by a page of ours and not by a redirect, because `form-action` applies to redirects too.
    """
    if caller(request) is None:
        return go(_signed_out_url(site))
    onward = await site.auth.farewell(request)
    cookie = await site.auth.close_session(request)
    if not onward:
        return go(_signed_out_url(site), cookie=cookie)
    answer = page(site, request, "leaving.html", user=None, onward=onward)
    answer.headers["Set-Cookie"] = cookie
    return answer


async def signed_out(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Public. A provider sends users back to this address when they have signed out there."""
    if caller(request) is not None:
        return go(site.at("home"), status=302)
    return page(site, request, "signed_out.html", user=None)


async def ended_at_provider(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Accept the provider's logout token (OpenID Connect Back-Channel Logout 1.0, sections 2.5 to 2.8)."""
    fields = await read_open_form(request)
    try:
        await site.auth.ended_there(request.path_params["provider"], fields.get("logout_token", ""))
    except RefusedError as error:
        return reply({"error": "invalid_request", "error_description": str(error)}, 400)
    return empty(200)


def _signed_out_url(site: Site) -> str:
    """Return where a user goes after signing out: not where a provider would sign them in again at once."""
    away = any(provider.form == "link" for provider in site.auth.providers)
    return site.at("signed-out") if away else site.at("login")
