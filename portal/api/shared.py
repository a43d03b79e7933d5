"""The API of servers that are shared with a user or a group: list, read, leave.

Owns `/users/{name}/shared` and `/groups/{name}/shared`. Does not change what was shared
(`portal.sharing.share_actions`).
"""

from typing import Any

from litestar import Request, Response, delete
from litestar.handlers import HTTPRouteHandler

from portal.api.shares import answer, one, server_of
from portal.rights.access import View, need_anywhere, need_user
from portal.sharing import share_actions
from portal.site.site import Site
from portal.web.methods import read
from portal.web.pagination import page_of
from portal.web.responses import empty, reply
from state.errors import NotFoundError
from state.records.models import Share
from state.store.shares import recipients_of

USERS = ["/users/{name:str}/shared/{owner:str}", "/users/{name:str}/shared/{owner:str}/{server:str}"]
GROUPS = ["/groups/{name:str}/shared/{owner:str}", "/groups/{name:str}/shared/{owner:str}/{server:str}"]


def routes(site: Site) -> list[HTTPRouteHandler]:  # noqa: C901 - a list of handlers, each small
    """Return the handlers."""
    store = site.store

    async def need_group(request: Request[Any, Any, Any], scope: str) -> str:
        """Return the group's key. Raises 403 and 404."""
        view = View(need_anywhere(request, scope))
        group = await store.groups.get(request.path_params["name"])
        if group is None or not view.group(scope, group.name):
            raise NotFoundError("This group does not exist, or is not available to you.")
        return f"group:{group.name}"

    async def known(request: Request[Any, Any, Any], key: str) -> Share:
        return await share_actions.held(site, key, request.path_params["owner"], server_of(request))

    async def leave(request: Request[Any, Any, Any], key: str) -> Response[bytes]:
        await share_actions.leave(site, request, key, request.path_params["owner"], server_of(request))
        return empty(204)

    @read("/users/{name:str}/shared")
    async def with_user(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Includes what is shared with the user's groups."""
        _, user = await need_user(site, request, "read:users:shares", request.path_params["name"])
        shares = await store.shares.of(*recipients_of(user))
        return await answer(site, request, page_of(request, always=True), shares)

    @read(USERS)
    async def one_of_user(request: Request[Any, Any, Any]) -> Response[bytes]:
        _, user = await need_user(site, request, "read:users:shares", request.path_params["name"])
        return reply(await one(site, await known(request, user.name)))

    @delete(USERS, status_code=200)
    async def user_leaves(request: Request[Any, Any, Any]) -> Response[bytes]:
        _, user = await need_user(site, request, "users:shares", request.path_params["name"])
        return await leave(request, user.name)

    @read("/groups/{name:str}/shared")
    async def with_group(request: Request[Any, Any, Any]) -> Response[bytes]:
        shares = await store.shares.of(await need_group(request, "read:groups:shares"))
        return await answer(site, request, page_of(request, always=True), shares)

    @read(GROUPS)
    async def one_of_group(request: Request[Any, Any, Any]) -> Response[bytes]:
        return reply(await one(site, await known(request, await need_group(request, "read:groups:shares"))))

    @delete(GROUPS, status_code=200)
    async def group_leaves(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await leave(request, await need_group(request, "groups:shares"))

    return [with_user, one_of_user, user_leaves, with_group, one_of_group, group_leaves]
