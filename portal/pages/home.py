"""The home page: a user's servers, actions on them, and the servers that others share with the user.

Owns `/hub/home`. Does not know how servers start or stop.
"""

from typing import Any, Final

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from portal.pages.audit import LABELS
from portal.pages.connect import serves_ssh
from portal.pages.forms import asks_for, has_options, open_url
from portal.rights.access import View, need_user, signed_in
from portal.sharing import share_models
from portal.site.site import Site
from portal.web.methods import read
from portal.web.pagination import Part, part_of
from portal.web.responses import arguments, go, page, read_form
from portal.web.routing import bound
from state.config.one_host import may_share
from state.errors import NameRuleError
from state.names import new_server_name, server_key
from state.records.audit import Act, Entry
from state.records.models import Server, Status, User
from state.records.readiness import is_ready
from state.rights.identity import Identity
from state.store.shares import recipients_of

VISITS_SHOWN: Final = 5
DONE: Final = {
    "left": "You left the shared server.",
    "accepted": "The server is now shared with you, and is listed below. It is not running.",
}
"""Messages after a redirect."""


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""
    return [
        bound(site, read("/home"), home),
        bound(site, post("/home"), another),
    ]


async def _show(site: Site, request: Request[Any, Any, Any], *, problem: str = "", typed: str = "") -> Response[bytes]:
    me = signed_in(request).user
    identity, user = await need_user(site, request, "read:servers", me.name)
    servers = await site.store.servers.of_user(user.name)
    view = View(identity)
    shares = await site.store.shares.of_owner(user.name) if view("read:shares", user, None) else []
    named = part_of(request, [server for server in servers if server.name])
    default = [server for server in servers if not server.name]
    onscreen = [*default, *named.items]
    shared: dict[str, list[str]] = {server.name: [] for server in onscreen}
    for share in shares:
        if share.server in shared:
            shared[share.server].append(share.user or share.group)
    return page(
        site,
        request,
        "home.html",
        400 if problem else 200,
        user=identity.user,
        owner=user,
        default=next(iter(default), None),
        named=named,
        titles={profile.name: profile.title or profile.name for profile in site.config.profile},
        one_click=not has_options(site),
        moving=any(
            (server.active and server.status is not Status.READY)
            or (server.status is Status.READY and server.target == "stopped")
            for server in onscreen
        ),
        counting_down=any(server.active and server.deadline for server in onscreen),
        asks_for=lambda server: asks_for(site, server),
        open_url=lambda server: open_url(site, server, ""),
        problem=problem,
        typed=typed,
        may=view,
        shared=shared,
        guest=await _guest(site, request, identity, user),
        is_ready=is_ready,
        serves_ssh=serves_ssh,
        in_short=share_models.in_short,
        opens=share_models.opens,
        notice=DONE.get(arguments(request).get("done", ""), ""),
        visits=await _others(site, user.name),
        did=did,
    )


async def home(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Show the home page."""
    return await _show(site, request)


async def another(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Redirect from a new server's name to its form."""
    identity = signed_in(request)
    await need_user(site, request, "start:servers", identity.user.name)
    typed = (await read_form(request)).get("name", "").strip()[:200]
    try:
        name = new_server_name(typed)
    except NameRuleError as error:
        return await _show(site, request, problem=str(error), typed=typed)
    if not name:
        return await _show(site, request, problem="Give it a name.")
    if await site.store.servers.get(identity.user.name, name) is not None:
        return await _show(site, request, problem="You have a server of that name.", typed=typed)
    return go(site.at("spawn", identity.user.name, name))


def did(entry: Entry) -> str:
    """Describe another user's act for the owner. Pure."""
    if entry.act is Act.SHARE_MADE and entry.what.startswith(f"to {entry.who}{share_models.BY_CODE}"):
        return "accepted a link"
    if entry.act is Act.SHARE_REVOKED and entry.what.endswith(share_models.LEFT):
        return "left what you share"
    return LABELS[entry.act]


async def _guest(
    site: Site, request: Request[Any, Any, Any], identity: Identity, user: User
) -> Part[tuple[share_models.Guest, Server]]:
    """Return what others share with this user and their groups, each with the server's record."""
    found: list[share_models.Guest] = []
    if may_share(site.config) and View(identity)("read:users:shares", user, None):
        found = share_models.by_server(await site.store.shares.of(*recipients_of(user)))
    servers = await site.store.servers.many([server_key(one.owner, one.server) for one in found])
    pairs = [(one, servers.get(server_key(one.owner, one.server))) for one in found]
    return part_of(request, [(one, server) for one, server in pairs if server is not None], key="shared")


async def _others(site: Site, name: str) -> list[Entry]:
    """Return the latest acts of others on this user's servers and account."""
    entries = await site.store.audit.of_user(name, limit=50)
    return [entry for entry in entries if entry.who not in {"", name}][:VISITS_SHOWN]
