"""Converts exceptions to responses: the portal's only table of errors.

Owns the status of each error, and whether the response is a page or JSON. Does not know handlers.
"""

import logging
from collections.abc import Callable
from typing import Any, Final

from litestar import Request, Response
from litestar.background_tasks import BackgroundTask
from litestar.exceptions import HTTPException

from portal.audit import recorder
from portal.audit.request_log import LOGGED, log_refusal
from portal.refusals.pages import error_json, error_page
from portal.rights.access import HiddenError
from portal.site.site import PAGE_HEADERS, Site
from portal.web.next_url import safe_next
from portal.web.responses import API_HEADERS, JSON, go, raw_target, reply
from state.errors import (
    BadRecordError,
    ChoicesError,
    ConflictError,
    InvalidError,
    LimitError,
    NameRuleError,
    NotAllowedError,
    NotAUserError,
    NotFoundError,
    StateUnavailableError,
    TransitionError,
)
from state.records.audit import Act

log = logging.getLogger("towpath.portal")

STATUS: Final[dict[type[Exception], int]] = {
    StateUnavailableError: 503,
    BadRecordError: 500,
    NotFoundError: 404,
    HiddenError: 404,
    ConflictError: 409,
    TransitionError: 409,
    NotAllowedError: 403,
    NotAUserError: 403,
    InvalidError: 400,
    NameRuleError: 400,
    ChoicesError: 400,
    LimitError: 400,
}

Handler = Callable[[Request[Any, Any, Any], Exception], Response[Any]]


def handlers(site: Site) -> dict[int | type[Exception], Handler]:
    """Return the app's exception handlers. Unexpected errors are logged, and become a 500 with a message."""
    page = _pages(site)

    def answer(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        response = page(request, error)
        _log(request, error)
        if request.scope["state"].get("identity") is not None and (
            response.status_code == 403 or isinstance(error, HiddenError)  # noqa: PLR2004 - HTTP
        ):
            response.background = BackgroundTask(note_refusal, site, request, _status_of(error)[1])
        return response

    return {Exception: answer, HTTPException: answer}


def _log(request: Request[Any, Any, Any], error: Exception) -> None:
    """Write refusals to the log. One that is shown as 404 is logged as the 403 that it is."""
    status = 403 if isinstance(error, HiddenError) else _status(error)
    if status not in LOGGED:
        return
    identity = request.scope["state"].get("identity")
    log_refusal(
        status=status,
        method=request.method,
        path=request.scope["path"],
        user=identity.key if identity is not None else "",
        address=recorder.address(request),
        why=(error.detail if isinstance(error, HTTPException) else str(error)) or "no permission",
    )


def _status(error: Exception) -> int:
    return error.status_code if isinstance(error, HTTPException) else STATUS.get(type(error), 500)


async def note_refusal(site: Site, request: Request[Any, Any, Any], message: str) -> None:
    """Record that a request of a known caller was refused. Pages that show a refusal themselves call it, too."""
    what = f"{request.method} {request.scope['path']}"
    await recorder.refused(site.store, request, Act.REQUEST, what=what, why=message)


def _pages(look: Site) -> Handler:
    """Return a handler that converts an error to a page or JSON."""
    api = f"{look.hub}api"
    page = f"{api}/oauth2/authorize"
    metrics = f"{look.hub}metrics"  # requested by programs, which would take a sign-in page for the response

    def answer(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        status, message, headers = _status_of(error)
        path = request.scope["path"]
        if path != page and (path == api or path.startswith(f"{api}/")):
            if isinstance(error, ChoicesError):
                return reply({"status": status, "message": message, "fields": error.fields}, status)
            return Response(
                error_json(status, message), status_code=status, media_type=JSON, headers={**API_HEADERS, **headers}
            )
        unauthenticated = request.scope["state"].get("identity") is None
        if status == 403 and unauthenticated and request.method == "GET" and path != metrics:  # noqa: PLR2004
            return go(look.at("login", next=safe_next(raw_target(request), look.base)))
        return Response(
            error_page(look, status, message=message),
            status_code=status,
            media_type="text/html",
            headers={**PAGE_HEADERS, **headers},
        )

    return answer


def _status_of(error: Exception) -> tuple[int, str, dict[str, str]]:
    if isinstance(error, HTTPException):
        own = error.status_code not in {404, 405} or not error.detail.startswith(("Not Found", "Method Not"))
        return error.status_code, error.detail if own else "", dict(error.headers or {})
    status = STATUS.get(type(error))
    if status is None:
        log.error("A request failed unexpectedly", exc_info=error)
        return 500, "", {}
    return status, str(error), {"Retry-After": "1"} if status == 503 else {}  # noqa: PLR2004
