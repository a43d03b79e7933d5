"""The admins' list of users and their running servers.

Owns `/hub/admin`. Does not know what may be done to whom: `portal.users.user_actions`.
"""

from typing import Any, Final

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from portal.pages.forms import open_url
from portal.rights.access import View, need, need_anywhere
from portal.site.site import Site
from portal.users import user_actions
from portal.web.methods import read
from portal.web.responses import arguments, go, page, read_form
from state.errors import InvalidError, LimitError, NameRuleError
from state.names import user_name

EACH_PAGE: Final = 50
ADDED_MAX: Final = 200
SEARCH_MAX: Final = 64
OFFSET_MAX: Final = 10**9
DONE: Final = {
    "added": "Users added.",
    "known": "All of these users existed already.",
    "removed": "User removed.",
}
"""Messages after a redirect. A URL selects one, and cannot bring its own."""


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""

    async def show(
        request: Request[Any, Any, Any], *, problem: str = "", typed: str = "", status: int = 200
    ) -> Response[bytes]:
        identity = need_anywhere(request, "admin-ui")
        need_anywhere(request, "list:users")
        query = arguments(request)
        part = query.get("q", "").strip().lower()[:SEARCH_MAX]
        active = query.get("show") == "active"
        offset = _offset(query.get("offset", ""))
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
            found=found,
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
            notice=DONE.get(query.get("done", ""), ""),
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
        need(request, "admin:users")
        try:
            added = await user_actions.add(site, request, _names(typed), admin="admin" in fields)
        except (InvalidError, LimitError, NameRuleError) as error:
            return await show(request, problem=str(error), typed=typed, status=400)
        return go(site.at("admin", done="added" if added else "known"))

    return [every, add]


def _names(typed: str) -> list[str]:
    """Return the names that were typed, with white space or commas between. Raises InvalidError and NameRuleError."""
    names = list(dict.fromkeys(typed.replace(",", " ").split()))
    if not names or len(names) > ADDED_MAX:
        raise InvalidError(f"Type 1 to {ADDED_MAX} names, with spaces or lines between.")
    for name in names:
        try:
            user_name(name)
        except NameRuleError as error:
            raise NameRuleError(f"{name[:64]!r} cannot be a name. {error}") from error
    return names


def _offset(raw: str) -> int:
    return min(int(raw), OFFSET_MAX) if raw.isascii() and raw.isdecimal() and len(raw) <= 10 else 0  # noqa: PLR2004 - digits
