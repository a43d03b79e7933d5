"""Groups: list, look, make, fill, remove; and their properties.

Owns: `/groups`. Refuses to know what being in a group gives (`state.rights.roles`, `portal.users.group_actions`).
"""

from typing import Any

import msgspec
from litestar import Request, Response, delete, post, put
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from msgspec.structs import replace

from portal.audit import recorder
from portal.rights.access import View, lacks, need, need_anywhere, need_whole, signed_in
from portal.servers.models import group_model
from portal.site.site import Site
from portal.users import group_actions
from portal.web.methods import read
from portal.web.pagination import listed, page_of
from portal.web.responses import empty, read_json, reply
from state.errors import NotFoundError
from state.names import group_name
from state.records.audit import Act
from state.records.models import Group, User
from state.rights.identity import Identity

READING = ("read:groups", "read:groups:name", "read:roles:groups")
AT_ONCE = 200
PROPERTIES_MAX = 64 * 1024


class NewGroups(msgspec.Struct, forbid_unknown_fields=True):
    """Several groups at once, each with these users."""

    groups: list[str]
    users: list[str] = []


class NewGroup(msgspec.Struct, forbid_unknown_fields=True):
    """What may be said of a new group. `roles` stand in the configuration."""

    name: str | None = None
    users: list[str] = []
    roles: list[str] = []


class Names(msgspec.Struct, forbid_unknown_fields=True):
    """Who is to be put in, or taken out."""

    users: list[str]
    name: str | None = None
    roles: list[str] = []


def routes(site: Site) -> list[HTTPRouteHandler]:  # noqa: C901, PLR0915 - a list of handlers, each small
    """The handlers."""
    store = site.store

    def shown(view: View, group: Group, members: list[str]) -> dict[str, Any]:
        roles = site.roles.of_group(group.name)
        return group_model(group, members, roles, lambda scope: view.group(scope, group.name))

    async def known(request: Request[Any, Any, Any], scope: str) -> tuple[Identity, Group]:
        """The caller, and the group to which they may do this. Raises 403 and 404."""
        identity = need_anywhere(request, scope)
        group = await store.groups.get(request.path_params["name"])
        if group is None or not View(identity).group(scope, group.name):
            raise NotFoundError("This group does not exist, or is not available to you.")
        return identity, group

    async def as_it_is(identity: Identity, name: str) -> dict[str, Any]:
        found = await store.groups.many([name])
        return shown(View(identity), *found[0]) if found else {}

    @read("/groups")
    async def every(request: Request[Any, Any, Any]) -> Response[bytes]:
        identity = need_anywhere(request, "list:groups")
        view, page = View(identity), page_of(request)
        if view.everywhere("list:groups"):
            total = await store.groups.count()
            names = await store.groups.names(offset=page.offset, limit=page.limit)
        else:
            mine = [name for name in await store.groups.names() if view.group("list:groups", name)]
            total, names = len(mine), mine[page.offset : page.end]
        items = [shown(view, group, members) for group, members in await store.groups.many(names)]
        return listed(site, request, page, items, total)

    @post("/groups")
    async def add_several(request: Request[Any, Any, Any]) -> Response[bytes]:
        identity = need(request, "admin:groups")
        wish = await read_json(request, NewGroups)
        if wish is None or not wish.groups:
            raise HTTPException(status_code=400, detail="Name at least one group in groups.")
        names = [group_name(name) for name in dict.fromkeys(wish.groups)]
        for name, group in zip(names, await _several(names), strict=True):
            if group is not None:
                raise HTTPException(status_code=409, detail=f"Group {name} already exists.")
        for name in names:
            await _make(request, identity, name, wish.users)
        return reply([await as_it_is(identity, name) for name in names], 201)

    @read("/groups/{name:str}")
    async def one(request: Request[Any, Any, Any]) -> Response[bytes]:
        view = View(signed_in(request))
        found = await store.groups.many([request.path_params["name"]])
        model = shown(view, *found[0]) if found else {}
        if not model:
            if not any(view.anywhere(scope) for scope in READING):
                raise lacks("read:groups")
            raise NotFoundError("This group does not exist, or is not available to you.")
        return reply(model)

    @post("/groups/{name:str}")
    async def add(request: Request[Any, Any, Any]) -> Response[bytes]:
        identity = need_whole(request, "admin:groups")
        name = group_name(request.path_params["name"])
        wish = await read_json(request, NewGroup) or NewGroup()
        await _make(request, identity, name, wish.users)
        return reply(await as_it_is(identity, name), 201)

    @delete("/groups/{name:str}", status_code=200)
    async def remove(request: Request[Any, Any, Any]) -> Response[bytes]:
        _, group = await known(request, "delete:groups")
        await group_actions.end(site, group.name)
        await recorder.note(store, request, Act.GROUP_CHANGED, what=f"{group.name} is removed")
        return empty(204)

    @post("/groups/{name:str}/users", status_code=200)
    async def fill(request: Request[Any, Any, Any]) -> Response[bytes]:
        identity, group = await known(request, "groups")
        wish = await read_json(request, Names)
        if wish is None:
            raise HTTPException(status_code=400, detail="Name the users to add in users.")
        await _fill(request, identity, group.name, wish.users)
        return reply(await as_it_is(identity, group.name))

    @delete("/groups/{name:str}/users", status_code=200)
    async def thin(request: Request[Any, Any, Any]) -> Response[bytes]:
        identity, group = await known(request, "groups")
        wish = await read_json(request, Names)
        if wish is None:
            raise HTTPException(status_code=400, detail="Name the users to take out in users.")
        for user in await group_actions.people(site, wish.users):
            await group_actions.change(site, user, leave=(group.name,))
            await recorder.note(store, request, Act.GROUP_CHANGED, user=user.name, what=f"out of {group.name}")
        return reply(await as_it_is(identity, group.name))

    @put("/groups/{name:str}/properties")
    async def describe(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Instead of those that there were."""
        identity, group = await known(request, "groups")
        properties = await read_json(request, dict[str, Any])
        if properties is None:
            raise HTTPException(status_code=400, detail="Send the properties as a JSON object.")
        if len(msgspec.json.encode(properties)) > PROPERTIES_MAX:
            raise HTTPException(status_code=400, detail=f"Properties are at most {PROPERTIES_MAX} bytes as JSON.")
        await store.groups.save(replace(group, properties=properties))
        await recorder.note(store, request, Act.GROUP_CHANGED, what=f"properties of {group.name}")
        return reply(await as_it_is(identity, group.name))

    async def _several(names: list[str]) -> list[Group | None]:
        return [await store.groups.get(name) for name in names]

    async def _make(request: Request[Any, Any, Any], identity: Identity, name: str, users: list[str]) -> None:
        if users:
            group_actions.check_gift(site, identity, name)
        found = await group_actions.people(site, users)
        await group_actions.check_room(site)
        if not await store.groups.add(Group(name=name)):
            raise HTTPException(status_code=409, detail=f"Group {name} already exists.")
        await recorder.note(store, request, Act.GROUP_CHANGED, what=f"{name} is made")
        for user in found:
            await _join(request, user, name)

    async def _fill(request: Request[Any, Any, Any], identity: Identity, name: str, users: list[str]) -> None:
        group_actions.check_gift(site, identity, name)
        for user in await group_actions.people(site, users):
            await _join(request, user, name)

    async def _join(request: Request[Any, Any, Any], user: User, name: str) -> None:
        await group_actions.change(site, user, join=(name,))
        await recorder.note(store, request, Act.GROUP_CHANGED, user=user.name, what=f"into {name}")

    return [every, add_several, one, add, remove, fill, thin, describe]
