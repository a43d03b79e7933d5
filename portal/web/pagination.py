"""Pages of a list: `offset` and `limit` in, JupyterHub's two shapes of a list out.

Owns: the limits, and that a program that asks for pages (`Accept`) is told of the next one. Refuses to know what is
listed.
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


class Part(Struct, Generic[T], frozen=True, kw_only=True):
    """What a page shows of a long list. `before` and `after`: URLs of the neighbouring parts; `""`: there is none."""

    items: Sequence[T]
    first: int
    total: int
    before: str
    after: str

    @property
    def last(self) -> int:
        """The place of the last item that is shown, counted from 1."""
        return self.first + len(self.items) - 1


def part_of(request: Request[Any, Any, Any], items: Sequence[T], *, key: str = "offset", each: int = 50) -> Part[T]:
    """The part of a list that an URL's parameter `key` asks for, `each` items long; the first one for nonsense."""
    asked = arguments(request)
    raw = asked.get(key, "")
    offset = int(raw) if raw.isascii() and raw.isdecimal() and len(raw) < 10 else 0  # noqa: PLR2004 - digits
    offset = offset if offset < len(items) else 0
    path = raw_target(request).partition("?")[0]

    def url(start: int) -> str:
        query = urlencode({**asked, key: str(start)} if start else {name: asked[name] for name in asked if name != key})
        return f"{path}?{query}" if query else path

    return Part(
        items=items[offset : offset + each],
        first=offset + 1,
        total=len(items),
        before=url(max(0, offset - each)) if offset else "",
        after=url(offset + each) if offset + each < len(items) else "",
    )


def listed(site: Site, request: Request[Any, Any, Any], page: Page, items: Any, total: int) -> Response[bytes]:
    """The answer: `items` (a list or an object) as they are, or with where they stand among `total`."""
    return reply({"items": items, "_pagination": place(site, request, page, total)} if page.paged else items)


def place(site: Site, request: Request[Any, Any, Any], page: Page, total: int) -> dict[str, Any]:
    """JupyterHub's `_pagination`: where a page stands in its list, and where to go on."""
    after = None
    if page.end < total:
        query = urlencode({**arguments(request), "offset": page.end, "limit": page.limit})
        here = site.origin(request.headers.get("host", "")) + raw_target(request).partition("?")[0]
        after = {"offset": page.end, "limit": page.limit, "url": f"{here}?{query}"}
    return {"offset": page.offset, "limit": page.limit, "total": total, "next": after}
