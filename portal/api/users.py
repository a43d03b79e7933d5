"""Users: who am I, who is there, adding, changing, deleting.

Owns: `/user` and `/users/{name}` and its activity. Refuses to know servers beyond their models.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from litestar import Request, Response, delete, patch, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from msgspec.structs import replace

from portal.api import services
from portal.audit import recorder
from portal.rights.access import Sees, View, lacks, need_user, need_whole, rules_admins, signed_in
from portal.servers import server_actions
from portal.servers.models import listed_servers, server_model, user_model
from portal.site.site import Site
from portal.users import group_actions, user_actions
from portal.web.methods import read
from portal.web.responses import arguments, empty, read_json, reply
from state.errors import NotFoundError
from state.names import group_name, user_name
from state.records.audit import Act
from state.records.models import Server, User
from state.rights.identity import Identity
from state.turns import Turns

FUTURE_MAX: Final = 59 * 60
END_SECONDS: Final = 10.0


class NewUser(msgspec.Struct, forbid_unknown_fields=True):
    """What may be said of a new user. `auth_state` and `roles` are JupyterHub's; they are not kept."""

    admin: bool = False
    groups: list[str] = []
    roles: list[str] = []
    auth_state: dict[str, Any] | None = None
    name: str = ""


class Change(msgspec.Struct, forbid_unknown_fields=True):
    """What may be changed of a user."""

    admin: bool | msgspec.UnsetType = msgspec.UNSET
    groups: list[str] | msgspec.UnsetType = msgspec.UNSET
    roles: list[str] = []
    auth_state: dict[str, Any] | None = None
    name: str | msgspec.UnsetType = msgspec.UNSET


class Seen(msgspec.Struct):
    """One server's last activity."""

    last_activity: str


class Activity(msgspec.Struct):
    """An app's word on when it was used."""

    last_activity: str | None = None
    servers: dict[str, Seen] | None = None


async def shown(
    site: Site, found: tuple[User, list[Server], dict[str, float]], view: Sees, *, include_stopped: bool
) -> dict[str, Any]:
    """The model of a user as one caller sees it; empty when they may see nothing of it."""
    user, servers, activity = found
    model = user_model(user, servers, view, roles=site.roles.of_user(user), base_path=site.base)
    models: dict[str, Any] = {}
    turns = Turns()
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


def routes(site: Site) -> list[HTTPRouteHandler]:  # noqa: C901, PLR0915 - a list of handlers, each small
    """The handlers."""
    store = site.store

    @read("/user")
    async def whoami(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Any valid credential may ask: a user's, or a service's."""
        identity = signed_in(request)
        view = View(identity, itself=True)
        if identity.service is not None:
            model = services.shown(site, identity.service, view)
        else:
            found = await store.users.get_with_servers(identity.name) or (identity.user, [], {})
            model = await shown(site, found, view, include_stopped=_include_stopped(request))
        model["token_id"] = identity.token.id if identity.token else None
        bound = identity.token.session_id if identity.token else ""
        model["session_id"] = identity.session.id if identity.session else bound or None
        model["scopes"] = sorted(identity.scopes)
        return reply(model)

    @read("/users/{name:str}")
    async def one(request: Request[Any, Any, Any]) -> Response[bytes]:
        name = request.path_params["name"]
        identity = signed_in(request)
        found = await store.users.get_with_servers(name)
        model = await shown(site, found, View(identity), include_stopped=_include_stopped(request)) if found else {}
        if not model:
            _refuse_reader(identity)
        return reply(model)

    @post("/users/{name:str}")
    async def add(request: Request[Any, Any, Any]) -> Response[bytes]:
        name = request.path_params["name"]
        identity = need_whole(request, "admin:users")
        wish = await read_json(request, NewUser) or NewUser()
        _only_admins_make_admins(identity, wish.admin)
        groups = _groups(wish.groups)
        group_actions.check_change(site, identity, (), groups)
        group_actions.check_number(site, groups)
        user = User(name=user_name(name), admin=wish.admin, groups=groups, created=site.clock())
        await user_actions.check_room(site)
        if not await store.users.add(user):
            raise HTTPException(status_code=409, detail=f"User {user.name} already exists.")
        await recorder.note(store, request, Act.USER_ADDED, user=user.name, what="admin" if user.admin else "")
        return reply(await shown(site, (user, [], {}), View(identity), include_stopped=False), 201)

    @patch("/users/{name:str}")
    async def change(request: Request[Any, Any, Any]) -> Response[bytes]:
        name = request.path_params["name"]
        identity, user = await need_user(site, request, "admin:users", name)
        wish = await read_json(request, Change)
        if wish is None:
            raise HTTPException(status_code=400, detail="Say what to change.")
        if wish.name not in {msgspec.UNSET, user.name}:
            raise HTTPException(status_code=400, detail="A user cannot be renamed: add a new one.")
        if user.admin and not rules_admins(identity):
            raise HTTPException(status_code=403, detail="Only admins, with all of their rights, change admins.")
        admin = user.admin if wish.admin is msgspec.UNSET else wish.admin
        _only_admins_make_admins(identity, admin)
        groups = user.groups if wish.groups is msgspec.UNSET else _groups(wish.groups)
        group_actions.check_change(site, identity, user.groups, groups)
        group_actions.check_number(site, groups)
        admin_by = user.admin_by if admin == user.admin else ""
        changed = replace(user, admin=admin, admin_by=admin_by, groups=groups)
        if changed != user:
            changed = await store.users.save(changed)
            await recorder.note(store, request, Act.USER_CHANGED, user=user.name, what=_difference(user, changed))
        found = await store.users.get_with_servers(user.name) or (changed, [], {})
        return reply(await shown(site, found, View(identity), include_stopped=False))

    @delete("/users/{name:str}", status_code=200)
    async def remove(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Stops the user's servers first, and waits a moment for their end; 400 while one has not ended."""
        name = request.path_params["name"]
        identity, user = await need_user(site, request, "delete:users", name)
        if identity.is_user(user.name):
            raise HTTPException(status_code=400, detail="You cannot delete yourself.")
        if user.admin and not rules_admins(identity):
            raise HTTPException(status_code=403, detail="Only admins, with all of their rights, delete admins.")
        running = [server for server in await store.servers.of_user(name) if server.active]
        stopping = [await server_actions.stop(site, name, server.name) for server in running]
        for server in stopping:
            last = await server_actions.ended(site, server, seconds=END_SECONDS) if server else None
            if last is not None and last.active:
                raise HTTPException(status_code=400, detail=f"A server of {name} is stopping. Wait, then repeat this.")
        await store.tokens.revoke_all(name)
        await store.sessions.close_all(name)
        await store.users.remove(name)
        await store.feed.revoke(user=name)
        await recorder.note(store, request, Act.USER_REMOVED, user=name)
        return empty(204)

    @post("/users/{name:str}/activity", status_code=200)
    async def activity(request: Request[Any, Any, Any]) -> Response[bytes]:
        name = request.path_params["name"]
        await need_user(site, request, "users:activity", name)
        word = await read_json(request, Activity)
        if word is None or (word.last_activity is None and not word.servers):
            raise HTTPException(status_code=400, detail="Say last_activity, or servers, or both.")
        now = site.clock()
        known = {server.name for server in await store.servers.of_user(name)}
        seen: dict[tuple[str, str], float] = {}
        for server, said in (word.servers or {}).items():
            if server not in known:
                raise HTTPException(status_code=400, detail=f"{name} has no server named {server!r}.")
            seen[name, server] = _moment(said.last_activity, now)
        if word.last_activity is not None:
            moment = _moment(word.last_activity, now)
            if not seen:
                await _user_seen(site, name, moment)
        if seen:
            await store.servers.touch(seen)
        return empty(200)

    return [whoami, one, add, change, remove, activity]


def _include_stopped(request: Request[Any, Any, Any]) -> bool:
    if not request.scope["query_string"]:
        return False
    return arguments(request).get("include_stopped_servers", "0").lower() not in {"0", "false"}


def _refuse_reader(identity: Identity) -> None:
    """Nothing to see: 404 for one who may read some user, else 403."""
    for scope in (
        "read:users",
        "read:users:name",
        "read:servers",
        "read:users:groups",
        "read:users:activity",
        "read:roles:users",
    ):
        if View(identity).anywhere(scope):
            raise NotFoundError("There is no such user.")
    raise lacks("read:users")


def _groups(names: Sequence[str]) -> tuple[str, ...]:
    """In their normal form, each once. Raises NameRuleError."""
    return tuple(dict.fromkeys(group_name(name) for name in names))


def _only_admins_make_admins(identity: Identity, admin: bool) -> None:  # noqa: FBT001
    if admin and not rules_admins(identity):
        raise HTTPException(status_code=403, detail="Only admins, with all of their rights, make admins.")


def _difference(old: User, new: User) -> str:
    """What has changed, in words, for the audit."""
    words = []
    if old.admin != new.admin:
        words.append("is an admin now" if new.admin else "is no admin any more")
    if old.groups != new.groups:
        words.append(f"groups: {', '.join(new.groups) or 'none'}")
    return ", ".join(words)


def _moment(said: str, now: float) -> float:
    try:
        moment = datetime.fromisoformat(said)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise HTTPException(status_code=400, detail="Not a valid timestamp (ISO 8601).") from error
    if seconds > now + FUTURE_MAX:
        raise HTTPException(status_code=400, detail="That is more than an hour in the future.")
    return seconds


async def _user_seen(site: Site, name: str, moment: float) -> None:
    user = await site.store.users.get(name)
    if user is not None and (user.last_activity is None or moment > user.last_activity):
        await site.store.users.save(replace(user, last_activity=moment))
