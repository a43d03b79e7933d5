"""Groups: list, read, create, fill, delete; and their properties.

Owns `/groups`. `portal.users.group_actions` makes the changes.
"""

from typing import Any

import msgspec
from litestar import Request, Response, delete, post, put
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from portal.rights.access import View, lacks, need, need_anywhere, need_whole, signed_in
from portal.servers.models import group_model
from portal.site.site import Site
from portal.users import group_actions
from portal.web.methods import read
from portal.web.pagination import listed, page_of
from portal.web.responses import empty, read_json, reply
from portal.web.routing import bound
from state.errors import ConflictError, NotFoundError
from state.names import group_name
from state.records.models import Group
from state.rights.identity import Identity

READING = ("read:groups", "read:groups:name", "read:roles:groups")
NO_GROUP = "This group does not exist, or is not available to you."


class NewGroups(msgspec.Struct, forbid_unknown_fields=True):
    """Several new groups, each with these users."""

    groups: list[str]
    users: list[str] = []


class NewGroup(msgspec.Struct, forbid_unknown_fields=True):
    """The body for a new group. JupyterHub's `roles` are ignored, because roles are in the configuration."""

    name: str | None = None
    users: list[str] = []
    roles: list[str] = []


class Names(msgspec.Struct, forbid_unknown_fields=True):
    """The users to add or remove."""

    users: list[str]
    name: str | None = None
    roles: list[str] = []


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""
    return [
        bound(site, read("/groups"), every),
        bound(site, post("/groups"), add_several),
        bound(site, read("/groups/{name:str}"), one),
        bound(site, post("/groups/{name:str}"), add),
        bound(site, delete("/groups/{name:str}", status_code=200), remove),
        bound(site, post("/groups/{name:str}/users", status_code=200), add_members),
        bound(site, delete("/groups/{name:str}/users", status_code=200), remove_members),
        bound(site, put("/groups/{name:str}/properties"), describe),
    ]


async def every(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """List the groups that the caller may list."""
    identity = need_anywhere(request, "list:groups")
    view, page = View(identity), page_of(request)
    store = site.store
    if view.everywhere("list:groups"):
        total = await store.groups.count()
        names = await store.groups.names(offset=page.offset, limit=page.limit)
    else:
        mine = [name for name in await store.groups.names() if view.group("list:groups", name)]
        total, names = len(mine), mine[page.offset : page.end]
    items = [_model(site, view, group, members) for group, members in await store.groups.many(names)]
    return listed(site, request, page, items, total)


async def add_several(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Create several groups; none, if one of them exists."""
    identity = need(request, "admin:groups")
    body = await read_json(request, NewGroups)
    if body is None or not body.groups:
        raise HTTPException(status_code=400, detail="Name at least one group in groups.")
    names = [group_name(name) for name in dict.fromkeys(body.groups)]
    for name in names:
        if await site.store.groups.get(name) is not None:
            raise ConflictError(f"Group {name} already exists.")
    for name in names:
        await group_actions.make(site, request, name, body.users)
    return reply([await _current(site, identity, name) for name in names], 201)


async def one(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return one group."""
    view = View(signed_in(request))
    found = await site.store.groups.many([request.path_params["name"]])
    model = _model(site, view, *found[0]) if found else {}
    if not model:
        if not any(view.anywhere(scope) for scope in READING):
            raise lacks("read:groups")
        raise NotFoundError(NO_GROUP)
    return reply(model)


async def add(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Create one group."""
    identity = need_whole(request, "admin:groups")
    name = group_name(request.path_params["name"])
    body = await read_json(request, NewGroup) or NewGroup()
    await group_actions.make(site, request, name, body.users)
    return reply(await _current(site, identity, name), 201)


async def remove(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Delete one group."""
    _, group = await _allowed(site, request, "delete:groups")
    await group_actions.remove(site, request, group.name)
    return empty(204)


async def add_members(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Add users to a group."""
    identity, group = await _allowed(site, request, "groups")
    body = await read_json(request, Names)
    if body is None:
        raise HTTPException(status_code=400, detail="Name the users to add in users.")
    await group_actions.add_members(site, request, group.name, body.users)
    return reply(await _current(site, identity, group.name))


async def remove_members(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Remove users from a group."""
    identity, group = await _allowed(site, request, "groups")
    body = await read_json(request, Names)
    if body is None:
        raise HTTPException(status_code=400, detail="Name the users to remove in users.")
    await group_actions.remove_members(site, request, group.name, body.users)
    return reply(await _current(site, identity, group.name))


async def describe(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Replace a group's properties."""
    identity, group = await _allowed(site, request, "groups")
    properties = await read_json(request, dict[str, Any])
    if properties is None:
        raise HTTPException(status_code=400, detail="Send the properties as a JSON object.")
    await group_actions.describe(site, request, group, properties)
    return reply(await _current(site, identity, group.name))


async def _allowed(site: Site, request: Request[Any, Any, Any], scope: str) -> tuple[Identity, Group]:
    """Return the caller, and the group for which they have this scope. Raises 403 and 404."""
    identity = need_anywhere(request, scope)
    group = await site.store.groups.get(request.path_params["name"])
    if group is None or not View(identity).group(scope, group.name):
        raise NotFoundError(NO_GROUP)
    return identity, group


async def _current(site: Site, identity: Identity, name: str) -> dict[str, Any]:
    """Return the group's model as it is now."""
    found = await site.store.groups.many([name])
    return _model(site, View(identity), *found[0]) if found else {}


def _model(site: Site, view: View, group: Group, members: list[str]) -> dict[str, Any]:
    roles = site.roles.of_group(group.name)
    return group_model(group, members, roles, lambda scope: view.group(scope, group.name))
