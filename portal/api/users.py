"""The API of single users: read, create, change, delete, and the caller's own identity.

Owns `/user`, `/users/{name}` and its activity. Does not know more about servers than their models.
"""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from litestar import Request, Response, delete, patch, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from portal.api import services
from portal.rights.access import Sees, View, lacks, need_user, need_whole, signed_in
from portal.servers.models import listed_servers, server_model, user_model
from portal.site.site import Site
from portal.users import user_actions
from portal.web.methods import read
from portal.web.responses import arguments, empty, read_json, reply
from portal.web.routing import bound
from state.errors import ConflictError, NotFoundError
from state.names import user_name
from state.records.models import Server, User
from state.rights.identity import Identity
from state.turns import Turns

FUTURE_MAX: Final = 59 * 60


class NewUser(msgspec.Struct, forbid_unknown_fields=True):
    """The body for a new user. JupyterHub's `auth_state` and `roles` are ignored."""

    admin: bool = False
    groups: list[str] = []
    roles: list[str] = []
    auth_state: dict[str, Any] | None = None
    name: str = ""


class Change(msgspec.Struct, forbid_unknown_fields=True):
    """The body for a change of a user."""

    admin: bool | msgspec.UnsetType = msgspec.UNSET
    groups: list[str] | msgspec.UnsetType = msgspec.UNSET
    roles: list[str] = []
    auth_state: dict[str, Any] | None = None
    name: str | msgspec.UnsetType = msgspec.UNSET


class Seen(msgspec.Struct):
    """The last activity of a server."""

    last_activity: str


class Activity(msgspec.Struct):
    """An app's report of its last activity."""

    last_activity: str | None = None
    servers: dict[str, Seen] | None = None


async def shown(
    site: Site,
    found: tuple[User, list[Server], dict[str, float]],
    view: Sees,
    *,
    include_stopped: bool,
    turns: Turns | None = None,
) -> dict[str, Any]:
    """Return the model of a user with the fields that the caller may see; empty if it may see none.

    `turns`: of the whole request, where it shows several users.
    """
    user, servers, activity = found
    model = user_model(user, servers, view, roles=site.roles.of_user(user), base_path=site.base)
    models: dict[str, Any] = {}
    turns = turns or Turns()
    for server in listed_servers(user, servers, include_stopped=include_stopped):
        if view("read:servers", user, server.name):
            models[server.name] = server_model(
                server,
                base_path=site.base,
                public_url=site.public_url,
                last_activity=activity.get(server.name),
                with_state=view("admin:server_state", user, server.name),
            )
        await turns.give()
    if models or view("read:servers", user, None):
        model["servers"] = models
    return model if len(model) > 2 or view("read:users:name", user, None) else {}  # noqa: PLR2004 - kind, name


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""
    return [
        bound(site, read("/user"), whoami),
        bound(site, read("/users/{name:str}"), one),
        bound(site, post("/users/{name:str}"), add),
        bound(site, patch("/users/{name:str}"), change),
        bound(site, delete("/users/{name:str}", status_code=200), remove),
        bound(site, post("/users/{name:str}/activity", status_code=200), activity),
    ]


async def whoami(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return the owner of the credential. Any valid credential works: a user's or a service's."""
    identity = signed_in(request)
    view = View(identity, itself=True)
    if identity.service is not None:
        model = services.shown(site, identity.service, view)
    else:
        found = await site.store.users.get_with_servers(identity.name) or (identity.user, [], {})
        model = await shown(site, found, view, include_stopped=_include_stopped(request))
    model["token_id"] = identity.token.id if identity.token else None
    bound_to = identity.token.session_id if identity.token else ""
    model["session_id"] = identity.session.id if identity.session else bound_to or None
    model["scopes"] = sorted(identity.scopes)
    return reply(model)


async def one(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return one user."""
    identity = signed_in(request)
    found = await site.store.users.get_with_servers(request.path_params["name"])
    model = await shown(site, found, View(identity), include_stopped=_include_stopped(request)) if found else {}
    if not model:
        _refuse_reader(identity)
    return reply(model)


async def add(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Create one user."""
    identity = need_whole(request, "admin:users")
    body = await read_json(request, NewUser) or NewUser()
    name = user_name(request.path_params["name"])
    added = await user_actions.add(site, request, [name], admin=body.admin, groups=body.groups)
    if not added:
        raise ConflictError(f"User {name} already exists.")
    return reply(await shown(site, (added[0], [], {}), View(identity), include_stopped=False), 201)


async def change(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Change whether a user is an admin, and their groups."""
    name = request.path_params["name"]
    identity, user = await need_user(site, request, "admin:users", name)
    body = await read_json(request, Change)
    if body is None:
        raise HTTPException(status_code=400, detail="Name what to change.")
    if body.name not in {msgspec.UNSET, user.name}:
        raise HTTPException(status_code=400, detail="A user cannot be renamed. Add a new one.")
    changed = await user_actions.change(
        site,
        request,
        name,
        admin=None if body.admin is msgspec.UNSET else body.admin,
        groups=None if body.groups is msgspec.UNSET else body.groups,
    )
    found = await site.store.users.get_with_servers(user.name) or (changed, [], {})
    return reply(await shown(site, found, View(identity), include_stopped=False))


async def remove(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Stop the user's servers and delete the user; 400 while a server has not ended."""
    await user_actions.remove(site, request, request.path_params["name"])
    return empty(204)


async def activity(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Record when an app says it was used."""
    name = request.path_params["name"]
    await need_user(site, request, "users:activity", name)
    body = await read_json(request, Activity)
    if body is None or (body.last_activity is None and not body.servers):
        raise HTTPException(status_code=400, detail="Send last_activity, servers, or both.")
    now = site.clock()
    known = {server.name for server in await site.store.servers.of_user(name)}
    seen: dict[tuple[str, str], float] = {}
    for server, reported in (body.servers or {}).items():
        if server not in known:
            raise HTTPException(status_code=400, detail=f"{name} has no server named {server!r}.")
        seen[name, server] = _moment(reported.last_activity, now)
    if body.last_activity is not None:
        moment = _moment(body.last_activity, now)
        if not seen:
            await user_actions.seen(site, name, moment)
    if seen:
        await site.store.servers.touch(seen)
    return empty(200)


def _include_stopped(request: Request[Any, Any, Any]) -> bool:
    if not request.scope["query_string"]:
        return False
    return arguments(request).get("include_stopped_servers", "0").lower() not in {"0", "false"}


def _refuse_reader(identity: Identity) -> None:
    """Raise 404 for a caller who may read some users, otherwise 403."""
    for scope in (
        "read:users",
        "read:users:name",
        "read:servers",
        "read:users:groups",
        "read:users:activity",
        "read:roles:users",
    ):
        if View(identity).anywhere(scope):
            raise NotFoundError("The user does not exist.")
    raise lacks("read:users")


def _moment(text: str, now: float) -> float:
    try:
        moment = datetime.fromisoformat(text)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise HTTPException(status_code=400, detail="Not a valid timestamp (ISO 8601).") from error
    if seconds > now + FUTURE_MAX:
        raise HTTPException(status_code=400, detail="That is more than an hour in the future.")
    return seconds
