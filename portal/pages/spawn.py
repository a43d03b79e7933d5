"""The form of a start.

Owns: `/hub/spawn[/user[/server]]`. Refuses to validate (that is `state.offer.choices`) and to start anything by a GET.
"""

from typing import Any

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from portal.audit import recorder
from portal.pages.forms import open_url, sheet, still_good
from portal.rights.access import need_user, signed_in
from portal.servers import server_actions
from portal.servers.catalog_facts import facts_for_all, facts_of
from portal.servers.form_values import picked_in
from portal.servers.models import pending
from portal.servers.server_actions import Started
from portal.site.site import Site
from portal.web.methods import read
from portal.web.next_url import safe_next
from portal.web.responses import arguments, go, page, read_form
from state.config.tables import ProfileConfig
from state.errors import ChoicesError, NameRuleError
from state.names import server_name
from state.records.audit import Act
from state.records.models import Server, Status, User
from state.records.readiness import is_ready
from state.rights.identity import Identity

WHOLE = frozenset({"profile", "name"})
"""Errors that are about no field: they are told as they are."""
PATHS = ["/spawn", "/spawn/{name:str}", "/spawn/{name:str}/{server:str}"]


def routes(site: Site) -> list[HTTPRouteHandler]:  # noqa: C901 - a list of handlers, each small
    """The handlers."""

    async def target(request: Request[Any, Any, Any], name: str, server: str) -> tuple[Identity, User]:
        found = await need_user(site, request, "start:servers", name or signed_in(request).user.name, server)
        server_name(server)
        return found

    async def form(
        request: Request[Any, Any, Any],
        identity: Identity,
        owner: User,
        server: str,
        *,
        chosen: str,
        given: dict[str, Any],
        next_url: str,
        errors: dict[str, str] | None = None,
        problem: str = "",
        status: int = 200,
    ) -> Response[bytes]:
        errors = errors or {}
        known = await facts_for_all(site, owner)
        picked = site.config.profile_named(chosen)
        told = " ".join(
            message if field in WHOLE else f"{field}: {message}"
            for field, message in errors.items()
            if not picked or field not in picked.option
        )
        told = told or problem or ("Some of this is not on offer: see below." if errors else "")
        return page(
            site,
            request,
            "spawn.html",
            status,
            user=identity.user,
            owner=owner,
            name=server,
            sheets=[
                sheet(
                    site,
                    profile,
                    known[profile.cluster],
                    given if profile is picked else {},
                    errors if profile is picked else {},
                )
                for profile in site.config.profile
            ],
            chosen=picked.name if picked else "",
            clusters=len(site.config.cluster),
            problem=told,
            next=next_url,
            offer_url=site.at("api", "towpath", "offer", user=owner.name),
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
        given: dict[str, Any] = {}
        errors: dict[str, str] = {}
        if record and found and record.profile == chosen:
            given = still_good(found, await facts_of(site, found.cluster, owner), record.choices)
            errors = _said_last_time(found, record)
        return await form(
            request,
            identity,
            owner,
            server,
            chosen=chosen,
            given=given | picked_in(asked, chosen),
            next_url=next_url,
            errors=errors,
            problem="The last start was refused: see below." if errors else "",
        )

    @post(PATHS)
    async def start(request: Request[Any, Any, Any]) -> Response[bytes]:
        """303 to the progress; the form again, with what was typed and what is wrong, when it does not fit.

        `look`: nothing is started; the form again, with what is to be had with these picks.
        """
        name, server = request.path_params.get("name", ""), request.path_params.get("server", "")
        identity, owner = await target(request, name, server)
        fields = await read_form(request)
        next_url = safe_next(fields.get("next"), site.base)
        again, look = "again" in fields, "look" in fields
        profile = None if again else fields.get("profile")
        picked = None if again else picked_in(fields, profile or "")
        if look:
            given = dict(picked or {})
            return await form(request, identity, owner, server, chosen=profile or "", given=given, next_url=next_url)
        try:
            outcome, record = await server_actions.start(site, owner, server, profile=profile, picked=picked)
        except (ChoicesError, NameRuleError) as error:
            errors = error.fields if isinstance(error, ChoicesError) else {"name": str(error)}
            return await form(
                request,
                identity,
                owner,
                server,
                chosen=profile or "",
                given=dict(picked or {}),
                next_url=next_url,
                errors=errors,
                status=400,
            )
        if outcome is Started.NEW:
            await recorder.note(
                site.store, request, Act.SERVER_START, user=owner.name, server=server, what=record.profile
            )
        if is_ready(record):
            return go(open_url(site, record, next_url))
        return go(site.at("spawn-pending", owner.name, server, next=next_url))

    return [show, start]


def _said_last_time(profile: ProfileConfig, record: Server) -> dict[str, str]:
    """What the scheduler said of the last attempt, beside the field that it is about."""
    reason = record.reason
    if record.status is not Status.FAILED or reason is None or not reason.field:
        return {}
    told = f"{reason.message} {reason.hint}".strip()
    name = next((name for name, option in profile.option.items() if option.kind == reason.field), reason.field)
    return {name: told}
