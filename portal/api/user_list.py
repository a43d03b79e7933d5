"""The API of the list of users, which can be filtered, sorted and paged, and of adding several users.

Owns `/users`. Single users are in `portal.api.users`.
"""

from typing import Any, Final

import msgspec
from litestar import Request, Response, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from portal.api.users import shown
from portal.rights.access import View, need, need_anywhere
from portal.site.site import Site
from portal.users import user_actions
from portal.web.methods import read
from portal.web.pagination import listed, page_of
from portal.web.responses import arguments, read_json, reply
from state.errors import ConflictError
from state.records.models import Server, User
from state.records.readiness import is_ready
from state.turns import Turns

AT_ONCE: Final = 200

Entry = tuple[User, list[Server], dict[str, float]]


class NewUsers(msgspec.Struct, forbid_unknown_fields=True):
    """The body for new users; `admin` applies to all. The other fields are JupyterHub's and are ignored."""

    usernames: list[str]
    admin: bool = False
    groups: list[str] = []
    roles: list[str] = []
    auth_state: dict[str, Any] | None = None
    name: str = ""


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""
    store = site.store

    @read("/users")
    async def every(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Return JupyterHub's list. Its order `id` is the order of names here."""
        identity = need_anywhere(request, "list:users")
        view = View(identity)
        query = arguments(request)
        page = page_of(request)
        state, sort = query.get("state", ""), query.get("sort", "id")
        if state not in {"", "active", "ready", "inactive"}:
            raise HTTPException(status_code=400, detail="state must be active, ready or inactive.")
        if sort.removeprefix("-") not in {"id", "name", "last_activity"}:
            raise HTTPException(
                status_code=400, detail="sort must be id, name or last_activity, or one of them after a -."
            )
        part = query.get("name_filter", "").lower()
        if not state and not part and sort in {"id", "name"} and view.everywhere("list:users"):
            total = await store.users.count()
            found = await store.users.many(await store.users.names(offset=page.offset, limit=page.limit))
        else:
            chosen = await _choose(site, view, state, part)
            if sort.endswith("last_activity"):
                chosen.sort(key=lambda item: item[0].last_activity or 0)
            if sort.startswith("-"):
                chosen.reverse()
            total, found = len(chosen), chosen[page.offset : page.end]
        stopped = query.get("include_stopped_servers", "0").lower() not in {"0", "false"}
        return listed(site, request, page, await _models(site, view, found, include_stopped=stopped), total)

    @post("/users")
    async def add(request: Request[Any, Any, Any]) -> Response[bytes]:
        identity = need(request, "admin:users")
        body = await read_json(request, NewUsers)
        if body is None or not body.usernames:
            raise HTTPException(status_code=400, detail="Name at least one user in usernames.")
        added = await user_actions.add(site, request, body.usernames, admin=body.admin)
        if not added:
            raise ConflictError("All of these users exist already.")
        view = View(identity)
        return reply([await shown(site, (user, [], {}), view, include_stopped=False) for user in added], 201)

    return [every, add]


async def _models(site: Site, view: View, found: list[Entry], *, include_stopped: bool) -> list[dict[str, Any]]:
    """Return the models of the users of whom the caller may see something."""
    turns = Turns()
    models = []
    for item in found:
        if model := await shown(site, item, view, include_stopped=include_stopped, turns=turns):
            models.append(model)
        await turns.give()
    return models


async def _choose(site: Site, view: View, state: str, part: str) -> list[Entry]:
    """Return all users that match the filters and the caller's scopes, ordered by name."""
    names = [name for name in await site.store.users.names() if part in name]
    chosen: list[Entry] = []
    for start in range(0, len(names), AT_ONCE):
        for item in await site.store.users.many(names[start : start + AT_ONCE]):
            user, servers, _ = item
            active = any(server.active for server in servers)
            fits = (
                not state
                or (state == "active" and active)
                or (state == "inactive" and not active)
                or (state == "ready" and any(is_ready(server) for server in servers))
            )
            if fits and view("list:users", user, None):
                chosen.append(item)
    return chosen
