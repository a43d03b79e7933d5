"""Home: a person's servers, and what can be done with each.

Owns: `/hub/home`. Refuses to know how anything starts or stops.
"""

from typing import Any, Final

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from portal.access import need_user, signed_in
from portal.pages.audit import WORDS
from portal.pages.forms import asks_for, has_options, open_url
from portal.replies import go, page, read_form
from portal.site import Site
from portal.verbs import read
from state.audit import Entry
from state.errors import NameRuleError
from state.names import server_name
from state.records import Status

VISITS_SHOWN: Final = 5


def routes(site: Site) -> list[HTTPRouteHandler]:
    """The handlers."""

    async def show(request: Request[Any, Any, Any], *, problem: str = "", typed: str = "") -> Response[bytes]:
        me = signed_in(request).user
        identity, user = await need_user(site, request, "read:servers", me.name)
        servers = await site.store.servers.of_user(user.name)
        return page(
            site,
            "home.html",
            400 if problem else 200,
            user=identity.user,
            owner=user,
            default=next((server for server in servers if not server.name), None),
            named=[server for server in servers if server.name],
            titles={profile.name: profile.title or profile.name for profile in site.config.profile},
            one_click=not has_options(site),
            moving=any(
                (server.active and server.status is not Status.READY)
                or (server.status is Status.READY and server.target == "stopped")
                for server in servers
            ),
            ending=any(server.active and server.deadline for server in servers),
            asks_for=lambda server: asks_for(site, server),
            open_url=lambda server: open_url(site, server, ""),
            problem=problem,
            typed=typed,
            visits=await _others(site, user.name),
            words=WORDS,
        )

    @read("/home")
    async def home(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await show(request)

    @post("/home")
    async def another(request: Request[Any, Any, Any]) -> Response[bytes]:
        """The name of another server: on to its form."""
        identity = signed_in(request)
        await need_user(site, request, "start:servers", identity.user.name)
        typed = (await read_form(request)).get("name", "").strip()[:200]
        try:
            name = server_name(typed)
        except NameRuleError as error:
            return await show(request, problem=str(error), typed=typed)
        if not name:
            return await show(request, problem="Give it a name.")
        if await site.store.servers.get(identity.user.name, name) is not None:
            return await show(request, problem="You have a server of that name.", typed=typed)
        return go(site.at("spawn", identity.user.name, name))

    return [home, another]


async def _others(site: Site, name: str) -> list[Entry]:
    """The last few acts of others on this person's servers and account."""
    told = await site.store.audit.of_user(name, limit=50)
    return [entry for entry in told if entry.who not in {"", name}][:VISITS_SHOWN]
