"""The roster of a course: a form for a list, and the result.

Owns `/hub/roster/{group}`. Does not know CSV, or what is done with it (`portal.users.roster_actions`).
"""

from collections.abc import Sequence
from typing import Any

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from portal.rights.access import View, need_anywhere
from portal.site.site import Site
from portal.users import roster_actions
from portal.web.methods import read
from portal.web.pagination import part_of
from portal.web.responses import page, read_form
from state.errors import NotFoundError
from state.records.roster import COLUMNS
from state.rights.identity import Identity


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""

    async def show(
        request: Request[Any, Any, Any],
        identity: Identity,
        group: str,
        *,
        text: str = "",
        faults: Sequence[tuple[int, str]] = (),
        outcome: roster_actions.Outcome | None = None,
    ) -> Response[bytes]:
        members = (await site.store.groups.members(group))[group]
        return page(
            site,
            request,
            "roster.html",
            400 if faults else 200,
            user=identity.user,
            group=group,
            members=part_of(request, members, each=200),
            text=text,
            faults=faults,
            outcome=outcome,
            columns=COLUMNS,
        )

    async def known(request: Request[Any, Any, Any]) -> tuple[Identity, str]:
        """Return the caller, and the group that they may change. Raises 403 and 404."""
        identity = need_anywhere(request, "groups")
        name: str = request.path_params["group"]
        if await site.store.groups.get(name) is None or not View(identity).group("groups", name):
            raise NotFoundError("This group does not exist, or is not available to you.")
        return identity, name

    @read("/roster/{group:str}")
    async def form(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await show(request, *await known(request))

    @post("/roster/{group:str}", status_code=200)
    async def use(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Return the page with the result, or with the pasted text and the errors if nothing was changed."""
        identity, group = await known(request)
        fields = await read_form(request)
        text = fields.get("roster", "")
        try:
            outcome = await roster_actions.use(site, request, group, text, replace="replace" in fields)
        except roster_actions.RosterError as error:
            return await show(request, identity, group, text=text, faults=error.lines)
        return await show(request, identity, group, outcome=outcome)

    return [form, use]
