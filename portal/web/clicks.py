"""Check that a user's click on the hub's own page sent a form, and not a script with the user's cookie.

On a hub with one host name for everything, the pages of all apps have the hub's origin, and the cookie of a user who
opens another user's app is sent with every request of a script there. Browsers tell the two apart: a script can neither
set `Sec-Fetch-*` headers nor read a page in a window whose opener was cut off (`Cross-Origin-Opener-Policy`), and the
hub's pages load in no frame (`frame-ancestors`). So every form carries a secret of the session (`_xsrf`), pages with
such a form are only sent to the navigation of a whole window, and a form must be sent by a user's click.

Browsers send these headers over https and to `localhost`. Without them (an old browser, plain http, a program that has
a cookie) only the check of the origin remains (`gateway.door`).

Sources: W3C Fetch Metadata Request Headers, sections 2.1 to 2.4; HTML, "cross-origin opener policies". Safari sends no
Sec-Fetch-User (https://bugs.webkit.org/show_bug.cgi?id=247697), so there the secret alone decides.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any, Final

from litestar import Request
from litestar.exceptions import HTTPException

from state.rights.identity import Identity

XSRF: Final = "_xsrf"
"""The name of the form field, as in JupyterHub."""
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
NOT_BY_SCRIPT: Final = (
    "With a browser session this can only be done on the hub's own pages. In a program, use an API token."
)
NOT_CLICKED: Final = "This form was not sent by a click on the hub's own page. Open that page and try again."
NOT_IN_WINDOW: Final = "This page can only be opened in a browser window or tab of its own."

_SAFARI: Final = re.compile(
    r"AppleWebKit/(?!.*(?:Chrome|Chromium|CriOS|Edg|Android)).*Version/.*Safari/|\(iP(?:hone|ad|od)"
)
_OPEN_TO_SCRIPTS: Final = re.compile(r"/users/[^/]+/(?:activity|servers?(?:/[^/]*)?/?)|/oauth2/(?:authorize|token)")
"""What scripts may change in the API with a session: start and stop servers, and report activity. The OAuth endpoints
check their own form, and use no session."""


def form_token(identity: Identity) -> str:
    """Return the secret for a session's forms, derived from the digest of the cookie, which no script can read."""
    return hmac.new(identity.digest.encode(), b"form", hashlib.sha256).hexdigest()


def check_page(request: Request[Any, Any, Any]) -> None:
    """Raise 403 unless a browser session asks for a page by navigating a whole window to it."""
    if _session_of(request) is not None and _has_metadata(request.headers) and not _is_navigation(request.headers):
        raise HTTPException(status_code=403, detail=NOT_IN_WINDOW)


def check_form(request: Request[Any, Any, Any], fields: Mapping[str, str]) -> None:
    """Raise 403 for a form of a browser session that was not sent by a click on a page of the hub."""
    identity = _session_of(request)
    if identity is None or not _has_metadata(request.headers):
        return
    genuine = hmac.compare_digest(fields.get(XSRF, "").encode(), form_token(identity).encode())
    if not (genuine and _is_click(request.headers)):
        raise HTTPException(status_code=403, detail=NOT_CLICKED)


def check_api(request: Request[Any, Any, Any], path: str) -> None:
    """Raise 403 for a change that a script may not make with a browser session. `path`: the part after `/hub/api`."""
    if request.method in SAFE or _session_of(request) is None or not _has_metadata(request.headers):
        return
    if not _OPEN_TO_SCRIPTS.fullmatch(path):
        raise HTTPException(status_code=403, detail=NOT_BY_SCRIPT)


def by_this_site(headers: Mapping[str, str]) -> bool:
    """Return whether a request was caused by this site, by the user in the address bar, or by a program.

    `same-site`: servers may have hosts of their own below the hub's. A browser without Sec-Fetch headers may come from
    anywhere. Its Accept header distinguishes it from a program.
    """
    if not _has_metadata(headers):
        return "text/html" not in headers.get("accept", "")
    prefetch = "prefetch" in headers.get("sec-purpose", "")
    return (
        headers.get("sec-fetch-site") in {"same-origin", "same-site", "none"}
        and _is_navigation(headers)
        and not prefetch
    )


def _session_of(request: Request[Any, Any, Any]) -> Identity | None:
    identity: Identity | None = request.scope["state"].get("identity")
    return identity if identity is not None and identity.session is not None else None


def _has_metadata(headers: Mapping[str, str]) -> bool:
    """Return whether the browser says how the request came about: it sends all of these headers or none."""
    return "sec-fetch-mode" in headers


def _is_navigation(headers: Mapping[str, str]) -> bool:
    """Return whether a whole window goes to this address, and not a frame or a script."""
    return (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")


def _is_click(headers: Mapping[str, str]) -> bool:
    """Return whether a user's action caused the navigation."""
    by_user = headers.get("sec-fetch-user") == "?1" or _SAFARI.search(headers.get("user-agent", "")) is not None
    return _is_navigation(headers) and by_user
