"""Signing in, by each way: each act once, with its audit entry and, for a refusal, a line in the log of requests.

`portal.site.sign_in.Auth` checks credentials and opens sessions. Does not know forms, links and pages.
"""

from collections.abc import Mapping
from typing import Any, Final

from litestar import Request

from portal.audit import recorder
from portal.audit.request_log import log_refusal
from portal.rights.access import caller
from portal.site.sign_in import Arrival, Departure, RefusedError, TooOftenError
from portal.site.site import Site
from state.records.audit import Act

TOO_OFTEN: Final = "Too many failed attempts"
USED: Final = "This sign-in link is not valid. It was used already or has expired. Create a new one."


async def by_form(site: Site, request: Request[Any, Any, Any], provider: str, fields: Mapping[str, str]) -> str:
    """Sign in with a provider's form, and return the session's Set-Cookie value.

    Raises RefusedError, TooOftenError and UnansweredError.
    """
    try:
        user = await site.auth.sign_in(provider, fields, request)
    except RefusedError as error:
        await _refused(site, request, provider, error, who=fields.get("username", ""))
        raise
    return await site.auth.open_session(user, request, way=provider)


async def by_link(site: Site, request: Request[Any, Any, Any], secret: str) -> str:
    """Sign in with a one-time link, which is used up. Returns the session's Set-Cookie value. Raises RefusedError."""
    user = await site.auth.sign_in_with_link(secret) if secret and site.auth.sign_in_links else None
    if user is None:
        error = RefusedError(USED)
        await _refused(site, request, "link", error)
        raise error
    return await site.auth.open_session(user, request, way="link")


async def depart(
    site: Site, request: Request[Any, Any, Any], provider: str, next_url: str, *, other: bool
) -> Departure:
    """Start a sign-in at a provider's own page, or finish one by the request itself. Raises RefusedError."""
    try:
        return await site.auth.depart(provider, next_url, request, other=other)
    except RefusedError as error:
        await _refused(site, request, provider, error)
        raise


async def arrive(site: Site, request: Request[Any, Any, Any], provider: str, answer: Mapping[str, str]) -> Arrival:
    """Finish a sign-in with the response of a provider. Raises RefusedError.

    A signed-in user who goes back in the browser's history repeats an old response. That is not recorded.
    """
    try:
        return await site.auth.arrive(provider, answer, request)
    except RefusedError as error:
        if not (error.stale and caller(request) is not None):
            await _refused(site, request, provider, error)
        raise


async def _refused(
    site: Site, request: Request[Any, Any, Any], provider: str, error: RefusedError, *, who: str = ""
) -> None:
    too_often = isinstance(error, TooOftenError)
    why = TOO_OFTEN if too_often else str(error)
    await recorder.refused(site.store, request, Act.SIGN_IN, who=who, what=provider, why=why)
    log_refusal(
        status=429 if too_often else 403,
        method=request.method,
        path=request.scope["path"],
        user=recorder.possible_name(who),  # users type passwords into the wrong field
        address=recorder.address(request),
        why=f"sign-in: {why}",
    )
