"""The API of a group's roster: `/towpath/groups/{name}/roster`.

Owns its URL and responses. Does not know about CSV and how it is applied (`portal.users.roster_actions`).
"""

from typing import Any

from litestar import Request, Response, put
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec

from portal.rights.access import View, need_anywhere
from portal.site.site import Site
from portal.users import roster_actions
from portal.web.responses import BODY_LIMIT, arguments, read_body, reply
from state.errors import NotFoundError

MODES = {"add": False, "replace": True}


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""

    @put(
        "/towpath/groups/{name:str}/roster",
        summary="Add the users of a CSV file to a group",
        responses={200: ResponseSpec(roster_actions.Outcome, description="")},
    )
    async def use(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Read the roster from the body, as CSV text: the first line names the columns, one of which is `user`.

        `mode=add` (default) or `replace` (other members are removed). 400 with `lines` (`{"line", "message"}`) if a
        line is invalid; then nothing is changed. Needs the scope `groups` for the group.
        """
        identity = need_anywhere(request, "groups")
        name: str = request.path_params["name"]
        group = await site.store.groups.get(name)
        if group is None or not View(identity).group("groups", name):
            raise NotFoundError("This group does not exist, or is not available to you.")
        mode = arguments(request).get("mode", "add")
        if mode not in MODES:
            raise HTTPException(status_code=400, detail="mode must be add or replace.")
        if identity.session is not None and request.headers.get("content-type", "").partition(";")[0] != "text/csv":
            raise HTTPException(status_code=415, detail="Send the roster as text/csv.")
        try:
            text = (await read_body(request, BODY_LIMIT)).decode()
        except UnicodeDecodeError as error:
            raise HTTPException(status_code=400, detail="The roster is not UTF-8 text.") from error
        try:
            outcome = await roster_actions.use(site, request, name, text, replace=MODES[mode])
        except roster_actions.RosterError as error:
            lines = [{"line": line, "message": message} for line, message in error.lines]
            return reply({"status": 400, "message": str(error), "lines": lines}, 400)
        return reply({"joined": outcome.joined, "left": outcome.left, "made": outcome.made})

    return [use]
