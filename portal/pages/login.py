"""Signing in: the page, the one-time link, the providers' forms, and the way to a provider and back.

Owns: `/hub/login` and `/hub/oauth_callback`. Refuses to know sessions and cookies: `portal.site.sign_in` does them.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from portal.audit import recorder
from portal.audit.request_log import log_refusal
from portal.rights.access import caller
from portal.site.sign_in import Provider, RefusedError, TooOftenError, UnansweredError
from portal.site.site import Site
from portal.web.methods import read
from portal.web.next_url import safe_next
from portal.web.responses import arguments, go, page, read_form
from state.records.audit import Act

SECRET_MAX: Final = 512
NAME_SHOWN: Final = 256
"""Of a name that was typed, so many characters stand in the form again."""
RETRY_SECONDS: Final = 10
TOO_OFTEN: Final = "Too many failed attempts"
USED: Final = "This sign-in link is not valid: it was used already, or its time is over. Make a new one."


def secret_in(typed: str) -> str:
    """The secret in what somebody pasted: the secret itself, or the whole link."""
    text = typed.strip()
    if "token=" in text:
        try:
            text = parse_qs(urlsplit(text).query).get("token", [""])[0]
        except ValueError:
            return ""
    return text if len(text) <= SECRET_MAX else ""


def routes(site: Site) -> list[HTTPRouteHandler]:  # noqa: C901, PLR0915 - a list of handlers, each small
    """The handlers."""

    def form(
        next_url: str,
        problem: str = "",
        status: int = 200,
        *,
        hint: str = "",
        other: str = "",
        tried: Mapping[str, str] | None = None,
        wait: int = 0,
    ) -> Response[bytes]:
        """`tried`: the fields of a form that did not let anybody in. Of those, the name is shown again."""
        given = tried or {}
        answer = page(
            site,
            "login.html",
            status,
            user=None,
            links=site.auth.sign_in_links,
            providers=site.auth.providers,
            next=next_url,
            problem=problem,
            hint=hint,
            tried=given.get("provider", ""),
            name=given.get("name", "")[:NAME_SHOWN],
            other=other,
        )
        if wait:
            answer.headers["Retry-After"] = str(wait)
        return answer

    def log_sign_in(request: Request[Any, Any, Any], status: int, who: str, why: str) -> None:
        name = recorder.possible_name(who)  # users type passwords into the wrong field
        where = {"method": request.method, "path": request.scope["path"], "address": recorder.address(request)}
        log_refusal(status=status, user=name, why=f"sign-in: {why}", **where)

    def refused(error: RefusedError, next_url: str) -> Response[bytes]:
        return form(next_url, str(error), 403, hint=error.hint, other=error.other)

    async def away(request: Request[Any, Any, Any], provider: str, next_url: str, *, other: bool) -> Response[bytes]:
        try:
            departure = await site.auth.depart(provider, next_url, request, other=other)
        except RefusedError as error:
            return refused(error, next_url)
        return go(departure.url, status=302, cookie=departure.cookie)

    async def enter(request: Request[Any, Any, Any], secret: str, next_url: str) -> Response[bytes]:
        user = await site.auth.sign_in_with_link(secret) if secret and site.auth.sign_in_links else None
        if user is None:
            await recorder.refused(site.store, request, Act.SIGN_IN, who="", what="link", why=USED)
            log_sign_in(request, 403, "", USED)
            return form(next_url, USED, 403)
        cookie = await site.auth.open_session(user, request, way="link")
        return go(next_url or site.at("home"), cookie=cookie)

    @read("/login")
    async def show(request: Request[Any, Any, Any]) -> Response[bytes]:
        """With `token`: signs in and redirects at once, so that the secret stays in no history and no Referer.

        A browser that only looks ahead uses no link up and begins nothing. Where there is one way to sign in, and it
        is somebody else's page, this is not in the way of it.
        """
        asked = arguments(request)
        next_url = safe_next(asked.get("next"), site.base)
        if caller(request) is not None:
            return go(next_url or site.at("home"), status=302)
        if looks_ahead(request):
            return form(next_url)
        if "token" in asked:
            return await enter(request, secret_in(asked["token"]), next_url)
        only = only_way(site.auth.providers)
        if only and not site.auth.sign_in_links:
            return await away(request, only, next_url, other=False)
        return form(next_url)

    @post("/login")
    async def sign_in(request: Request[Any, Any, Any]) -> Response[bytes]:
        """By a link that was pasted, or by a provider: its name in `provider`, and what its form holds."""
        fields = await read_form(request)
        next_url = safe_next(fields.get("next"), site.base)
        if "provider" not in fields:
            return await enter(request, secret_in(fields.get("token", "")), next_url)
        try:
            user = await site.auth.sign_in(fields["provider"], fields, request)
        except TooOftenError as error:
            who, way = fields.get("name", ""), fields["provider"]
            await recorder.refused(site.store, request, Act.SIGN_IN, who=who, what=way, why=TOO_OFTEN)
            log_sign_in(request, 429, who, TOO_OFTEN)
            return form(next_url, str(error), 429, tried=fields, wait=error.seconds)
        except RefusedError as error:
            who = fields.get("name", "")
            await recorder.refused(site.store, request, Act.SIGN_IN, who=who, what=fields["provider"], why=str(error))
            log_sign_in(request, 403, who, str(error))
            return form(next_url, str(error), 403, hint=error.hint, other=error.other, tried=fields)
        except UnansweredError as error:
            return form(next_url, str(error), 503, tried=fields, wait=RETRY_SECONDS)
        opened = await site.auth.open_session(user, request, way=fields["provider"])
        return go(next_url or site.at("home"), cookie=opened)

    @read("/login/{provider:str}")
    async def leave(request: Request[Any, Any, Any]) -> Response[bytes]:
        """To a provider that signs people in on pages of its own. With `other`: to pick another account there."""
        asked = arguments(request)
        next_url = safe_next(asked.get("next"), site.base)
        if looks_ahead(request):
            return form(next_url)
        return await away(request, request.path_params["provider"], next_url, other="other" in asked)

    @read(["/oauth_callback", "/oauth_callback/{provider:str}"])
    async def come_back(request: Request[Any, Any, Any]) -> Response[bytes]:
        """From there. Whoever is signed in and goes back in their history to this is led home."""
        if looks_ahead(request):
            return form("")
        try:
            arrival = await site.auth.arrive(request.path_params.get("provider", ""), arguments(request), request)
        except RefusedError as error:
            if error.stale and caller(request) is not None:
                return go(site.at("home"), status=302)
            way = request.path_params.get("provider", "")
            await recorder.refused(site.store, request, Act.SIGN_IN, who="", what=way, why=str(error))
            log_sign_in(request, 403, "", str(error))
            return refused(error, safe_next(error.next, site.base))
        return go(safe_next(arrival.next, site.base) or site.at("home"), status=302, cookie=arrival.cookie)

    return [show, sign_in, leave, come_back]


def looks_ahead(request: Request[Any, Any, Any]) -> bool:
    """Return whether nobody reads this page: a browser prefetches it, or a scanner of mail looks at a link (HEAD).

    Such a request must not use up a link. HEAD has no effects (RFC 9110 section 9.2.1).
    """
    purpose = request.headers.get("sec-purpose", "") + request.headers.get("purpose", "")
    return request.method == "HEAD" or "prefetch" in purpose


def only_way(providers: tuple[Provider, ...]) -> str:
    """The provider to which people are sent without being asked; `""`: they are asked."""
    return providers[0].name if len(providers) == 1 and providers[0].form == "link" else ""
