"""The API of servers: read, create, start, change, stop and remove the default server and named ones.

Owns `/users/{name}/server` and `/users/{name}/servers/{server}`. Does not know how a server is started.
"""

from typing import Any, Final

import msgspec
from litestar import Request, Response, delete, patch, post, put
from litestar.exceptions import HTTPException, NotFoundException
from litestar.handlers import HTTPRouteHandler

from portal.rights.access import View, need_user
from portal.servers import change_actions, server_actions
from portal.servers.models import never_started, server_model
from portal.servers.server_actions import Started
from portal.site.site import Site
from portal.web.methods import read
from portal.web.responses import empty, raw_target, read_json, reply
from portal.web.routing import bound
from state.errors import NotFoundError
from state.records.models import Server, User
from state.rights.identity import Identity

REMOVE_SECONDS: Final = 10.0
"""Seconds for which the response to a removal waits for the server to be gone."""
OWN: Final = frozenset({"display_name", "user_options", "profile"})
PATHS: Final = ["/users/{name:str}/server", "/users/{name:str}/servers", "/users/{name:str}/servers/{server:str}"]


class StartRequest(msgspec.Struct):
    """The request for a start or a new server. `options` None: not given."""

    display_name: str = ""
    profile: str | None = None
    options: dict[str, Any] | None = None


class Change(msgspec.Struct, forbid_unknown_fields=True):
    """The body for a change of an existing server."""

    display_name: str | msgspec.UnsetType = msgspec.UNSET
    user_options: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    name: str | msgspec.UnsetType = msgspec.UNSET


class Removal(msgspec.Struct):
    """The body of a DELETE."""

    remove: bool = False


async def need_named(site: Site, request: Request[Any, Any, Any], scope: str) -> tuple[Identity, User, str]:
    """Return the caller, and the user and the server of the path. Raises 403 and 404.

    `/servers/` without a name is the default server, as for JupyterHub; without the slash it does not exist.
    """
    server = request.path_params.get("server", "")
    identity, user = await need_user(site, request, scope, request.path_params["name"], server)
    if not server and raw_target(request).partition("?")[0].endswith("/servers"):
        raise NotFoundException
    return identity, user, server


def start_request(body: dict[str, Any] | None) -> StartRequest:
    """Read a start's body; one with neither `display_name` nor `user_options` is the options (the old form).

    Raises 400. `profile` can be given next to the options or among them.
    """
    if not body:
        return StartRequest()
    display_name, profile, options = body.get("display_name", ""), body.get("profile"), body.get("user_options")
    if "display_name" not in body and "user_options" not in body:
        options = {key: value for key, value in body.items() if key != "profile"} or None
    elif unknown := sorted(body.keys() - OWN):
        raise HTTPException(status_code=400, detail=f"There is no field named {unknown[0][:64]!r} beside user_options.")
    if not isinstance(display_name, str):
        raise HTTPException(status_code=400, detail="display_name must be a string.")
    if options is not None and not isinstance(options, dict):
        raise HTTPException(status_code=400, detail="user_options must be an object or null.")
    if options is not None and "profile" in options:
        options = dict(options)
        profile = options.pop("profile")
    if profile is not None and not isinstance(profile, str):
        raise HTTPException(status_code=400, detail="profile must be a string.")
    if profile is not None and options is None:
        options = {}
    return StartRequest(display_name=display_name, profile=profile, options=options)


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""
    return [
        bound(site, read(PATHS), look),
        bound(site, post(PATHS), start),
        bound(site, put(PATHS, status_code=201), create),
        bound(site, patch(PATHS), change),
        bound(site, delete(PATHS, status_code=200), stop),
    ]


async def look(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return one server. The default one exists even if it was never started, as for JupyterHub."""
    identity, user, server = await need_named(site, request, "read:servers")
    record = await site.store.servers.get(user.name, server) or (None if server else never_started(user))
    if record is None:
        raise NotFoundError(f"{user.name} has no server named {server!r}.")
    return reply(await _model(site, identity, user, record))


async def start(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """202: it is starting. 400 if it is running or stopping, or if the request is not available."""
    _, user, server = await need_named(site, request, "start:servers")
    requested = start_request(await read_json(request, dict[str, Any]))
    outcome, record = await server_actions.start(
        site,
        request,
        user,
        server,
        profile=requested.profile,
        picked=requested.options,
        display_name=requested.display_name,
    )
    label = f"{record.user}/{record.name}"
    if outcome is Started.READY:
        raise HTTPException(status_code=400, detail=f"{label} is already running.")
    if outcome is Started.STOPPING:
        raise HTTPException(status_code=400, detail=f"{label} is pending stop.")
    return empty(202)


async def create(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Create a named server without starting it."""
    identity, user, server = await need_named(site, request, "start:servers")
    if not server:
        raise HTTPException(status_code=409, detail=f"{user.name} has a default server already.")
    requested = start_request(await read_json(request, dict[str, Any]))
    record = await server_actions.create(
        site, user, server, display_name=requested.display_name, profile=requested.profile, picked=requested.options
    )
    return reply(await _model(site, identity, user, record), 201)


async def change(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Change the display name at any time; the options while the server is stopped or waits in the queue."""
    identity, user, server = await need_named(site, request, "start:servers")
    changes = await read_json(request, Change)
    if changes is None or changes == Change():
        raise HTTPException(status_code=400, detail="Send what to change: display_name or user_options.")
    record = await _existing(site, user, server)
    if changes.name not in {msgspec.UNSET, server}:
        raise HTTPException(status_code=400, detail="A server cannot be renamed. Change its display_name instead.")
    if changes.display_name is not msgspec.UNSET:
        server_actions.check_display_name(changes.display_name)
    if changes.user_options is not msgspec.UNSET:
        options = start_request({"user_options": changes.user_options})
        record = await change_actions.change(
            site, request, user, record, profile=options.profile, picked=options.options or {}
        )
    if changes.display_name is not msgspec.UNSET:
        record = await change_actions.rename(site, record, changes.display_name)
    return reply(await _model(site, identity, user, record))


async def stop(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """204: it has stopped (and is removed, if requested). 202: it is stopping, and will be removed then."""
    _, user, server = await need_named(site, request, "delete:servers")
    remove = (await read_json(request, Removal) or Removal()).remove
    if remove and not server:
        raise HTTPException(status_code=400, detail="The default server cannot be removed.")
    if remove:
        await _existing(site, user, server)
        record = await server_actions.request_removal(site, request, user.name, server)
        gone = record is None or await server_actions.removed(site, record, seconds=REMOVE_SECONDS)
        return empty(204 if gone else 202)
    record = await server_actions.stop(site, request, user.name, server)
    if record is None and server:
        raise NotFoundError(f"{user.name} has no server named {server!r}.")
    return empty(204 if record is None or not record.active else 202)


async def _model(site: Site, identity: Identity, user: User, server: Server) -> dict[str, Any]:
    activity = await site.store.servers.activity(user.name)
    return server_model(
        server,
        base_path=site.base,
        public_url=site.public_url,
        last_activity=activity.get(server.name),
        with_state=View(identity)("admin:server_state", user, server.name),
    )


async def _existing(site: Site, user: User, server: str) -> Server:
    record = await site.store.servers.get(user.name, server)
    if record is None:
        raise NotFoundError(f"{user.name} has no server named {server!r}.")
    return record
