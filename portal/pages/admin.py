"""The admins' list of people and their running servers.

Owns: `/hub/admin`, the list. Refuses to know what may be done to whom: `portal.users.user_actions`.
"""

from typing import Any, Final

from litestar import Request, Response, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from portal.pages.forms import open_url
from portal.rights.access import View, need_anywhere
from portal.site.site import Site
from portal.users import user_actions
from portal.web.methods import read
from portal.web.responses import arguments, go, page, read_form

EACH_PAGE: Final = 50
SEARCH_MAX: Final = 64
OFFSET_MAX: Final = 10**9
DONE: Final = {
    "added": "They are added.",
    "known": "All of these were here already.",
    "removed": "They are removed.",
}
"""What is told after a redirect: an URL names the sentence, and cannot bring one of its own."""


def routes(site: Site) -> list[HTTPRouteHandler]:
    """The handlers."""

    async def show(
        request: Request[Any, Any, Any], *, problem: str = "", typed: str = "", status: int = 200
    ) -> Response[bytes]:
        identity = need_anywhere(request, "admin-ui")
        need_anywhere(request, "list:users")
        asked = arguments(request)
        part = asked.get("q", "").strip().lower()[:SEARCH_MAX]
        active = asked.get("show") == "active"
        offset = _offset(asked.get("offset", ""))
        found, total = await user_actions.find(site, identity, part=part, active=active, offset=offset, limit=EACH_PAGE)
        kept = {"q": part, "show": "active" if active else ""}
        view = View(identity)
        edge = await site.store.edge_reports.latest() if site.config.gateway.public_url else None
        return page(
            site,
            request,
            "admin.html",
            status,
            user=identity.user,
            people=found,
            total=total,
            first=offset + 1,
            last=offset + len(found),
            q=part,
            active=active,
            adds=view.everywhere("admin:users"),
            may=view,
            titles={profile.name: profile.title or profile.name for profile in site.config.profile},
            before=site.at("admin", **kept, offset=str(max(0, offset - EACH_PAGE)) if offset > EACH_PAGE else "")
            if offset
            else "",
            after=site.at("admin", **kept, offset=str(offset + EACH_PAGE)) if offset + len(found) < total else "",
            open_url=lambda server: open_url(site, server, ""),
            problem=problem,
            edge=edge if edge is not None and edge.problems else None,
            told=DONE.get(asked.get("done", ""), ""),
            typed=typed,
            bad_records=await site.store.bad_records.every(),
        )

    @read("/admin")
    async def every(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await show(request)

    @post("/admin/users")
    async def add(request: Request[Any, Any, Any]) -> Response[bytes]:
        need_anywhere(request, "admin-ui")
        fields = await read_form(request)
        typed = fields.get("names", "")
        try:
            added = await user_actions.add(site, request, typed, admin="admin" in fields)
        except HTTPException as error:
            if error.status_code != 400:  # noqa: PLR2004 - HTTP
                raise
            return await show(request, problem=error.detail, typed=typed, status=400)
        return go(site.at("admin", done="added" if added else "known"))

    return [every, add]


def _offset(raw: str) -> int:
    return min(int(raw), OFFSET_MAX) if raw.isascii() and raw.isdecimal() and len(raw) <= 10 else 0  # noqa: PLR2004 - digits
