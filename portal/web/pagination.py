"""Pagination: `offset` and `limit` as input, JupyterHub's two forms of a list as output.

Owns the limits, and the link to the next page for programs that request pages (`Accept`). Does not know what is listed.
Source: JupyterHub 6.1 REST API, "Paginating API requests".
"""

from collections.abc import Sequence
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlencode

from litestar import Request, Response
from litestar.exceptions import HTTPException
from msgspec import Struct

from portal.site.site import Site
from portal.web.responses import arguments, raw_target, reply

T = TypeVar("T")

PAGED: Final = "application/jupyterhub-pagination+json"
LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 200
OFFSET_MAX: Final = 2**31


class Page(Struct, frozen=True):
    """The requested part of a list. `paged`: the caller requested JupyterHub's form with `_pagination`."""

    offset: int
    limit: int
    paged: bool

    @property
    def end(self) -> int:
        """The index after the last item."""
        return self.offset + self.limit


def page_of(request: Request[Any, Any, Any], *, always: bool = False) -> Page:
    """Return the requested page. Raises 400. `always`: the list only has the paged form."""
    query = arguments(request)
    paged = PAGED in request.headers.get("accept", "")
    try:
        offset = abs(int(query.get("offset", "0")))
        limit = abs(int(query.get("limit", LIMIT_DEFAULT if paged else LIMIT_MAX)))
    except ValueError as error:
        raise HTTPException(status_code=400, detail="offset and limit must be whole numbers.") from error
    return Page(min(offset, OFFSET_MAX), max(1, min(limit, LIMIT_MAX)), always or paged)


class Part(Struct, Generic[T], frozen=True, kw_only=True):
    """A part of a long list on a page. `before` and `after`: URLs of the adjacent parts; `""`: there is none."""

    items: Sequence[T]
    first: int
    total: int
    before: str
    after: str

    @property
    def last(self) -> int:
        """The position of the last item shown, counted from 1."""
        return self.first + len(self.items) - 1


def part_of(request: Request[Any, Any, Any], items: Sequence[T], *, key: str = "offset", each: int = 50) -> Part[T]:
    """Return the part of a list that the URL's parameter `key` selects, with `each` items.

    An invalid value selects the first part.
    """
    parameters = arguments(request)
    raw = parameters.get(key, "")
    offset = int(raw) if raw.isascii() and raw.isdecimal() and len(raw) < 10 else 0  # noqa: PLR2004 - digits
    offset = offset if offset < len(items) else 0
    path = raw_target(request).partition("?")[0]

    def url(start: int) -> str:
        query = urlencode(
            {**parameters, key: str(start)} if start else {name: parameters[name] for name in parameters if name != key}
        )
        return f"{path}?{query}" if query else path

    return Part(
        items=items[offset : offset + each],
        first=offset + 1,
        total=len(items),
        before=url(max(0, offset - each)) if offset else "",
        after=url(offset + each) if offset + each < len(items) else "",
    )


def listed(site: Site, request: Request[Any, Any, Any], page: Page, items: Any, total: int) -> Response[bytes]:
    """Return the response: `items` (a list or an object) unchanged, or with `_pagination`."""
    return reply({"items": items, "_pagination": place(site, request, page, total)} if page.paged else items)


def place(site: Site, request: Request[Any, Any, Any], page: Page, total: int) -> dict[str, Any]:
    """Return JupyterHub's `_pagination`: the position of a page in its list, and the next page."""
    after = None
    if page.end < total:
        query = urlencode({**arguments(request), "offset": page.end, "limit": page.limit})
        address = site.origin(request.headers.get("host", "")) + raw_target(request).partition("?")[0]
        after = {"offset": page.end, "limit": page.limit, "url": f"{address}?{query}"}
    return {"offset": page.offset, "limit": page.limit, "total": total, "next": after}
