"""Sign-in to a server or a service through the hub: the page that asks, and the endpoint for its client.

Owns `/hub/api/oauth2/authorize` (a page) and `/hub/api/oauth2/token`, which are JupyterHub's URLs. Does not know OAuth:
`portal.site.oauth` answers.
"""

from typing import Any, Final
from urllib.parse import parse_qsl

from litestar import Request, Response, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from portal.refusals.pages import error_page
from portal.rights.access import caller
from portal.rights.scope_descriptions import descriptions
from portal.site.oauth import Fields, OAuthRefusedError, Onward
from portal.site.site import PAGE_HEADERS, Site
from portal.web.clicks import XSRF, check_form
from portal.web.methods import read
from portal.web.next_url import safe_next
from portal.web.responses import FORM_LIMIT, go, page, raw_target, read_body, reply
from portal.web.routing import bound
from state.rights.identity import Identity

MOST_FIELDS: Final = 50
DECISION: Final = "towpath_decision"
"""The field of the confirmation page, in addition to those of the request."""


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""
    return [
        bound(site, read("/oauth2/authorize"), authorize),
        bound(site, post("/oauth2/authorize", status_code=200), decide),
        bound(site, post("/oauth2/token", status_code=200), token),
    ]


def _refusal(site: Site, error: OAuthRefusedError) -> Response[bytes]:
    body = error_page(site, error.status, message=str(error), title="Sign-in to this app failed")
    return Response(body, status_code=error.status, media_type="text/html", headers=PAGE_HEADERS)


def _onward(site: Site, request: Request[Any, Any, Any], answer: Onward, status: int) -> Response[bytes]:
    """Redirect to the client; for a browser on another origin, through a page.

    Chromium applies a page's `form-action` to redirects of its forms, and this hub's pages only allow the hub itself.
    """
    if answer.url.startswith("/") or not _wants_page(request):
        return go(answer.url, status=status)
    return page(site, request, "onward.html", user=None, url=answer.url)


def _browser(request: Request[Any, Any, Any]) -> Identity | None:
    """Return who has signed in with this browser: a token opens no session elsewhere."""
    identity = caller(request)
    return identity if identity is not None and identity.session is not None else None


async def authorize(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Redirect to the client with a code, or show the page that asks."""
    identity = _browser(request)
    if identity is None:
        return go(site.at("login", next=safe_next(raw_target(request), site.base)), status=302)
    fields = _fields(request.scope["query_string"].decode("latin-1"))
    try:
        answer = await site.oauth.ask(fields, identity, request)
    except OAuthRefusedError as error:
        return _refusal(site, error)
    if isinstance(answer, Onward):
        return _onward(site, request, answer, 302)
    return page(
        site,
        request,
        "authorize.html",
        user=identity.user,
        client=answer.client,
        permissions=descriptions(answer.scopes, identity.user.name),
        fields=fields,
        decision=DECISION,
        action=f"{site.hub}api/oauth2/authorize",
    )


async def decide(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Handle the user's decision: the fields of the request, and the decision."""
    identity = _browser(request)
    if identity is None:
        raise HTTPException(status_code=403, detail="Sign in first.")
    fields = await _form(request)
    check_form(request, dict(fields))
    request_fields = [(name, value) for name, value in fields if name not in {DECISION, XSRF}]
    granted = [value for name, value in fields if name == DECISION] == ["allow"]
    try:
        answer = await site.oauth.decide(request_fields, identity, request, granted=granted)
    except OAuthRefusedError as error:
        return _refusal(site, error)
    return _onward(site, request, answer, 303)


async def token(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Public: the client authenticates in the request."""
    answer = await site.oauth.exchange(await _form(request), request.headers.get("authorization", ""))
    return reply(answer.body, answer.status, answer.headers)


def _wants_page(request: Request[Any, Any, Any]) -> bool:
    """Return whether a browser makes the request, rather than a program."""
    mode = request.headers.get("sec-fetch-mode")
    return mode == "navigate" or (mode is None and "text/html" in request.headers.get("accept", ""))


def _fields(text: str) -> Fields:
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except ValueError as error:
        raise HTTPException(status_code=400, detail="The request is not valid UTF-8 text.") from error


async def _form(request: Request[Any, Any, Any]) -> Fields:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await read_body(request, FORM_LIMIT)
    if content_type != "application/x-www-form-urlencoded":
        raise HTTPException(status_code=415, detail="Send the form as application/x-www-form-urlencoded.")
    return _fields(body.decode("latin-1"))
