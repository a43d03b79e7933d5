"""The form of a start.

Owns: `/hub/spawn[/user[/server]]`. Refuses to validate (that is `state.choices`) and to start anything by a GET.
"""

from typing import Any

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from portal import intent
from portal.access import need_user, signed_in
from portal.models import is_ready, pending
from portal.nexturl import safe_next
from portal.pages.forms import open_url, picked_in, standing
from portal.replies import arguments, go, page, read_form
from portal.site import Site
from portal.verbs import read
from state.errors import ChoicesError, NameRuleError
from state.mirror import Identity
from state.names import server_name
from state.records import User

PATHS = ["/spawn", "/spawn/{name:str}", "/spawn/{name:str}/{server:str}"]


def routes(site: Site) -> list[HTTPRouteHandler]:
    """The handlers."""

    async def target(request: Request[Any, Any, Any], name: str, server: str) -> tuple[Identity, User]:
        found = await need_user(site, request, "start:servers", name or signed_in(request).user.name, server)
        server_name(server)
        return found

    def form(
        identity: Identity,
        owner: User,
        server: str,
        *,
        chosen: str,
        given: dict[str, Any],
        next_url: str,
        errors: dict[str, str] | None = None,
    ) -> Response[bytes]:
        errors = errors or {}
        profile = site.config.profile_named(chosen)
        shown = profile.option if profile else {}
        elsewhere = [f"{field}: {message}" for field, message in errors.items() if field not in shown]
        problem = " ".join(elsewhere) or ("Some of this is not on offer: see below." if errors else "")
        return page(
            site,
            "spawn.html",
            400 if errors else 200,
            user=identity.user,
            owner=owner,
            name=server,
            profiles=site.config.profile,
            chosen=profile.name if profile else "",
            values=standing(site, profile.name if profile else "", given),
            errors=errors,
            problem=problem,
            next=next_url,
        )

    @read(PATHS)
    async def show(request: Request[Any, Any, Any]) -> Response[bytes]:
        """The form, filled in from the URL (`profile`, `opt-NAME`), else as the last time."""
        name, server = request.path_params.get("name", ""), request.path_params.get("server", "")
        identity, owner = await target(request, name, server)
        asked = arguments(request)
        next_url = safe_next(asked.get("next"), site.base)
        record = await site.store.servers.get(owner.name, server)
        if record is not None and is_ready(record):
            return go(open_url(site, record, next_url), status=302)
        if record is not None and pending(record):
            return go(site.at("spawn-pending", owner.name, server, next=next_url), status=302)
        last = record is not None and site.config.profile_named(record.profile) is not None
        chosen = asked.get("profile") or (record.profile if record and last else "")
        found = site.config.profile_named(chosen) or site.config.profile_named("")
        chosen = found.name if found else ""
        given: dict[str, Any] = dict(record.choices) if record and record.profile == chosen else {}
        return form(identity, owner, server, chosen=chosen, given=given | picked_in(asked, chosen), next_url=next_url)

    @post(PATHS)
    async def start(request: Request[Any, Any, Any]) -> Response[bytes]:
        """303 to the progress; the form again, with what was typed and what is wrong, when it does not fit."""
        name, server = request.path_params.get("name", ""), request.path_params.get("server", "")
        identity, owner = await target(request, name, server)
        fields = await read_form(request)
        next_url = safe_next(fields.get("next"), site.base)
        again = "again" in fields
        profile = None if again else fields.get("profile")
        picked = None if again else picked_in(fields, profile or "")
        try:
            _, record = await intent.start(site, owner, server, profile=profile, picked=picked)
        except (ChoicesError, NameRuleError) as error:
            errors = error.fields if isinstance(error, ChoicesError) else {"name": str(error)}
            return form(
                identity,
                owner,
                server,
                chosen=profile or "",
                given=dict(picked or {}),
                next_url=next_url,
                errors=errors,
            )
        if is_ready(record):
            return go(open_url(site, record, next_url))
        return go(site.at("spawn-pending", owner.name, server, next=next_url))

    return [show, start]
