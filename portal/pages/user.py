"""A user's page for admins: servers, rights, groups, and removal.

Owns `/hub/admin/users/...`. Does not know what may be done to whom: `portal.users.user_actions`.
"""

from typing import Any, Final

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from portal.pages.forms import open_url
from portal.rights.access import View, need_anywhere, need_user, rules_admins, signed_in
from portal.site.site import Site
from portal.users import user_actions
from portal.web.methods import read
from portal.web.pagination import part_of
from portal.web.responses import arguments, go, page, read_form
from portal.web.routing import bound
from state.errors import ConflictError, InvalidError, LimitError, NameRuleError, NotAllowedError
from state.names import new_server_name

REMOVED_SHOWN: Final = 50


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""
    return [
        bound(site, read("/admin/users/{name:str}"), show_user),
        bound(site, post("/admin/users/{name:str}"), change),
        bound(site, post("/admin/users/{name:str}/server"), another),
        bound(site, read("/admin/users/{name:str}/remove"), ask),
        bound(site, post("/admin/users/{name:str}/remove"), remove),
    ]


async def _one(
    site: Site, request: Request[Any, Any, Any], name: str, *, problem: str = "", fields: dict[str, str] | None = None
) -> Response[bytes]:
    need_anywhere(request, "admin-ui")
    identity, owner = await need_user(site, request, "list:users", name)
    found = await site.store.users.get_with_servers(owner.name) or (owner, [], {})
    view = View(identity)
    return page(
        site,
        request,
        "user.html",
        400 if problem else 200,
        user=identity.user,
        owner=found[0],
        servers=part_of(request, [server for server in found[1] if view("read:servers", owner, server.name)]),
        seen=found[2],
        may=view,
        admin=rules_admins(identity),
        groups="\n".join(owner.groups) if fields is None else fields.get("groups", ""),
        makes_admin=owner.admin if fields is None else "admin" in fields,
        titles={profile.name: profile.title or profile.name for profile in site.config.profile},
        open_url=lambda server: open_url(site, server, ""),
        problem=problem,
        saved=not problem and arguments(request).get("done") == "saved",
    )


async def show_user(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Show one user."""
    return await _one(site, request, request.path_params["name"])


async def change(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Save the user's rights and groups."""
    need_anywhere(request, "admin-ui")
    name = request.path_params["name"]
    fields = await read_form(request)
    try:
        await _change(site, request, name, fields)
    except (ConflictError, InvalidError, LimitError, NameRuleError) as error:
        return await _one(site, request, name, problem=str(error), fields=fields)
    return go(site.at("admin", "users", name, done="saved"))


async def another(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Redirect from a server's name to the form that starts it for the user."""
    name = request.path_params["name"]
    await need_user(site, request, "start:servers", name)
    server = new_server_name((await read_form(request)).get("server", "").strip()[:200])
    return go(site.at("spawn", name, server))


async def ask(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Ask before a user is removed."""
    need_anywhere(request, "admin-ui")
    identity, owner = await need_user(site, request, "delete:users", request.path_params["name"])
    servers = [server for server in await site.store.servers.of_user(owner.name) if server.active][:REMOVED_SHOWN]
    return page(site, request, "remove.html", user=identity.user, owner=owner, servers=servers, problem="")


async def remove(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Remove the user."""
    need_anywhere(request, "admin-ui")
    name = request.path_params["name"]
    await read_form(request)
    try:
        await user_actions.remove(site, request, name)
    except InvalidError as error:
        identity, owner = await need_user(site, request, "delete:users", name)
        values = {"user": identity.user, "owner": owner, "servers": [], "problem": str(error)}
        return page(site, request, "remove.html", 400, **values)
    return go(site.at("admin", done="removed"))


async def _change(site: Site, request: Request[Any, Any, Any], name: str, fields: dict[str, str]) -> None:
    """Save the form: `admin`, and `groups` one a line, because a name may have spaces."""
    identity = signed_in(request)
    if not rules_admins(identity):
        raise NotAllowedError("Only admins can change admins and groups here.")
    if identity.is_user(name) and "admin" not in fields:
        raise InvalidError("You cannot take away your own admin right. Another admin can.")
    groups = [line for line in fields.get("groups", "").splitlines() if line.strip()]
    await user_actions.change(site, request, name, admin="admin" in fields, groups=groups)
