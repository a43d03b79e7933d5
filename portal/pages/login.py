"""The sign-in page, one-time links, the providers' forms, and the way to a provider's own page and back.

Owns `/hub/login` and `/hub/oauth_callback`. `portal.users.sign_in_actions` signs users in.
"""

import secrets
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from portal.rights.access import caller
from portal.site.sign_in import Provider, RefusedError, TooOftenError, UnansweredError
from portal.site.site import Site
from portal.users import sign_in_actions
from portal.web.clicks import XSRF
from portal.web.methods import read
from portal.web.next_url import safe_next
from portal.web.responses import arguments, go, page, read_open_form
from portal.web.routing import bound

SECRET_MAX: Final = 512
NAME_SHOWN: Final = 256
"""The form shows at most this many characters of a username that was typed."""
RETRY_SECONDS: Final = 10
XSRF_MAX: Final = 128


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""
    return [
        bound(site, read("/login"), show),
        bound(site, post("/login"), sign_in),
        bound(site, read("/login/{provider:str}"), leave),
        bound(site, read(["/oauth_callback", "/oauth_callback/{provider:str}"]), come_back),
    ]


async def show(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Show the page. With `token`: sign in and redirect at once, so that no history and no Referer has the secret.

    A browser that only prefetches the page uses up no link. If the only way to sign in is a provider's own page, the
    browser goes straight there.
    """
    query = arguments(request)
    next_url = safe_next(query.get("next"), site.base)
    if caller(request) is not None:
        return go(next_url or site.at("home"), status=302)
    if prefetches(request):
        return _form(site, request, next_url)
    if "token" in query:
        return await _use_link(site, request, secret_in(query["token"]), next_url)
    only = only_way(site.auth.providers)
    if only and not site.auth.sign_in_links:
        return await _depart(site, request, only, next_url, other=False)
    return _form(site, request, next_url)


async def sign_in(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Sign in with a link that was pasted, or with a provider's form.

    The fields are JupyterHub's: `username`, `password` and `_xsrf`, and `next` in the form or the URL. `provider` names
    the provider; without it, the first one with a form is used. `_xsrf` is not compared: the gateway has checked where
    the request comes from (`gateway.door`).
    """
    fields = await read_open_form(request)
    next_url = safe_next(fields.get("next") or arguments(request).get("next"), site.base)
    provider = fields.get("provider", "")
    if not provider and "username" in fields:
        provider = _first_form(site.auth.providers)
    if not provider:
        return await _use_link(site, request, secret_in(fields.get("token", "")), next_url)
    try:
        cookie = await sign_in_actions.by_form(site, request, provider, fields)
    except TooOftenError as error:
        return _form(site, request, next_url, str(error), 429, tried=fields, wait=error.seconds)
    except RefusedError as error:
        return _form(site, request, next_url, str(error), 403, hint=error.hint, other=error.other, tried=fields)
    except UnansweredError as error:
        return _form(site, request, next_url, str(error), 503, tried=fields, wait=RETRY_SECONDS)
    return go(next_url or site.at("home"), cookie=cookie)


async def leave(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Go to a provider's own page. With `other`: to pick another account there."""
    query = arguments(request)
    next_url = safe_next(query.get("next"), site.base)
    if prefetches(request):
        return _form(site, request, next_url)
    return await _depart(site, request, request.path_params["provider"], next_url, other="other" in query)


async def come_back(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return from a provider's page. A signed-in user who goes back in the history to this is sent home."""
    provider = request.path_params.get("provider", "")
    if prefetches(request):
        return _form(site, request, "")
    try:
        arrival = await sign_in_actions.arrive(site, request, provider, arguments(request))
    except RefusedError as error:
        if error.stale and caller(request) is not None:
            return go(site.at("home"), status=302)
        return _refused(site, request, error, safe_next(error.next, site.base))
    return go(safe_next(arrival.next, site.base) or site.at("home"), status=302, cookie=arrival.cookie)


def secret_in(typed: str) -> str:
    """Return the secret in what a user pasted: the secret itself, or the whole link."""
    text = typed.strip()
    if "token=" in text:
        try:
            text = parse_qs(urlsplit(text).query).get("token", [""])[0]
        except ValueError:
            return ""
    return text if len(text) <= SECRET_MAX else ""


def prefetches(request: Request[Any, Any, Any]) -> bool:
    """Return whether nobody reads this page: a browser prefetches it, or a scanner of mail looks at a link (HEAD).

    Such a request must not use up a link. HEAD has no effects (RFC 9110 section 9.2.1).
    """
    purpose = request.headers.get("sec-purpose", "") + request.headers.get("purpose", "")
    return request.method == "HEAD" or "prefetch" in purpose


def only_way(providers: tuple[Provider, ...]) -> str:
    """Return the provider to which users are sent without being asked, or `""`: they are asked."""
    return providers[0].name if len(providers) == 1 and providers[0].form == "link" else ""


def _first_form(providers: tuple[Provider, ...]) -> str:
    """Return the first provider for which a username can be sent, or `""`."""
    return next((one.name for one in providers if one.form != "link"), "")


def _form(
    site: Site,
    request: Request[Any, Any, Any],
    next_url: str,
    problem: str = "",
    status: int = 200,
    *,
    hint: str = "",
    other: str = "",
    tried: Mapping[str, str] | None = None,
    wait: int = 0,
) -> Response[bytes]:
    """Render the page. `tried`: the fields of a refused form, whose username is shown again."""
    typed = tried or {}
    xsrf = request.cookies.get(XSRF, "")
    if not 0 < len(xsrf) <= XSRF_MAX:
        xsrf = secrets.token_hex(16)
    answer = page(
        site,
        request,
        "login.html",
        status,
        user=None,
        login_xsrf=xsrf,
        links=site.auth.sign_in_links,
        providers=site.auth.providers,
        next=next_url,
        problem=problem,
        hint=hint,
        tried=typed.get("provider") or (_first_form(site.auth.providers) if typed else ""),
        username=typed.get("username", "")[:NAME_SHOWN],
        other=other,
    )
    if status == 200:  # noqa: PLR2004 - HTTP
        answer.headers["Set-Cookie"] = f"{XSRF}={xsrf}; HttpOnly; Path={site.hub}; SameSite=Lax"
    if wait:
        answer.headers["Retry-After"] = str(wait)
    return answer


def _refused(site: Site, request: Request[Any, Any, Any], error: RefusedError, next_url: str) -> Response[bytes]:
    return _form(site, request, next_url, str(error), 403, hint=error.hint, other=error.other)


async def _depart(
    site: Site, request: Request[Any, Any, Any], provider: str, next_url: str, *, other: bool
) -> Response[bytes]:
    try:
        departure = await sign_in_actions.depart(site, request, provider, next_url, other=other)
    except RefusedError as error:
        return _refused(site, request, error, next_url)
    return go(departure.url, status=302, cookie=departure.cookie)


async def _use_link(site: Site, request: Request[Any, Any, Any], secret: str, next_url: str) -> Response[bytes]:
    try:
        cookie = await sign_in_actions.by_link(site, request, secret)
    except RefusedError as error:
        return _form(site, request, next_url, str(error), 403)
    return go(next_url or site.at("home"), cookie=cookie)
