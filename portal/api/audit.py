"""The audit's API: `/towpath/audit`.

Owns its URL and format. `portal.audit.queries` decides who may read what.
"""

from typing import Any
from urllib.parse import urlencode

from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from msgspec import Struct

from portal.audit.queries import AuditQuery
from portal.site.site import Site
from portal.web.methods import read
from portal.web.responses import reply
from state.records.audit import shown


class Shown(Struct):
    """A page of the audit: entries as in `docs/security.md`, and the URL of older entries (null: there are none)."""

    entries: list[dict[str, Any]]
    next: str | None


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""

    @read("/towpath/audit", summary="What was done, newest first", responses={200: ResponseSpec(Shown, description="")})
    async def audit(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Filter by `about`, `who`, `user`, `server`, `address`, `act`, `outcome`, `since`, `until`, `limit`, `before`.

        Needs `read:audit`. With its filter (which every user has), returns only entries about the caller, by
        themselves or by others. `next` is the URL of older entries; a short page can have one.
        """
        query = AuditQuery(request)
        entries, older = await query.page(site)
        path = site.at("api", "towpath", "audit")
        onward = f"{path}?{urlencode({**query.arguments, 'before': older})}" if older else None
        return reply({"entries": [shown(entry) for entry in entries], "next": onward})

    return [audit]
