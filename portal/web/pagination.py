"""Pages of a list: `offset` and `limit` in, JupyterHub's two shapes of a list out.

Owns: the limits, and that a program that asks for pages (`Accept`) is told of the next one. Refuses to know what is
listed.
Source: JupyterHub 6.1 REST API, "Paginating API requests".
"""

from typing import Any, Final
from urllib.parse import urlencode

from litestar import Request, Response
from litestar.exceptions import HTTPException
from msgspec import Struct

from portal.site.site import Site
from portal.web.responses import arguments, raw_target, reply

PAGED: Final = "application/jupyterhub-pagination+json"
LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 200
OFFSET_MAX: Final = 2**31


class Page(Struct, frozen=True):
    """What part of a list is wanted. `paged`: the caller asked for JupyterHub's form with `_pagination`."""

    offset: int
    limit: int
    paged: bool

    @property
    def end(self) -> int:
        """The first place after it."""
        return self.offset + self.limit


def page_of(request: Request[Any, Any, Any], *, always: bool = False) -> Page:
    """The page that is asked for. Raises 400. `always`: the list has one form, the paged one."""
    asked = arguments(request)
    asked_for = PAGED in request.headers.get("accept", "")
    try:
        offset = abs(int(asked.get("offset", "0")))
        limit = abs(int(asked.get("limit", LIMIT_DEFAULT if asked_for else LIMIT_MAX)))
    except ValueError as error:
        raise HTTPException(status_code=400, detail="offset and limit are whole numbers.") from error
    return Page(min(offset, OFFSET_MAX), max(1, min(limit, LIMIT_MAX)), always or asked_for)


def listed(site: Site, request: Request[Any, Any, Any], page: Page, items: Any, total: int) -> Response[bytes]:
    """The answer: `items` (a list or an object) as they are, or with where they stand among `total`."""
    if not page.paged:
        return reply(items)
    after = None
    if page.end < total:
        query = urlencode({**arguments(request), "offset": page.end, "limit": page.limit})
        here = site.origin(request.headers.get("host", "")) + raw_target(request).partition("?")[0]
        after = {"offset": page.end, "limit": page.limit, "url": f"{here}?{query}"}
    return reply(
        {"items": items, "_pagination": {"offset": page.offset, "limit": page.limit, "total": total, "next": after}}
    )
