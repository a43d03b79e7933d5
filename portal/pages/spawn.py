"""The start form.

Owns `/hub/spawn[/user[/server]]`. `state.offer.choices` validates. A GET starts nothing.
"""

from typing import Any

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from portal.pages.forms import faults_in, open_url, sheet, still_good
from portal.rights.access import need_user, signed_in
from portal.servers import server_actions
from portal.servers.catalog_facts import facts_for_all, facts_of
from portal.servers.form_values import picked_in
from portal.servers.models import pending
from portal.site.site import Site
from portal.web.methods import read
from portal.web.next_url import safe_next
from portal.web.responses import arguments, go, page, read_form
from portal.web.routing import bound
from state.config.tables import ProfileConfig
from state.errors import ChoicesError, NameRuleError
from state.names import server_name
from state.offer.clusters import CLUSTER, has_choice, on_cluster_if_offered
from state.records.models import Server, Status, User
from state.records.readiness import is_ready
from state.rights.identity import Identity

NAME_SHOWN = 64
WHOLE_FORM = frozenset({"profile", "name"})
"""Errors that belong to no field of a profile are shown above the form, as they are."""
PATHS = ["/spawn", "/spawn/{name:str}", "/spawn/{name:str}/{server:str}"]


class FormState(Struct, frozen=True, kw_only=True):
    """What the form shows: the chosen profile, the values of its fields, and what is wrong with them."""

    chosen: str
    values: dict[str, Any]
    next_url: str
    errors: dict[str, str] = {}
    problem: str = ""
    status: int = 200
    editing: bool = False
    """Whether it changes the request of a server that waits. Then only the chosen profile is shown."""


class Target(Struct, frozen=True, kw_only=True):
    """The caller, and the server that the form is about."""

    identity: Identity
    owner: User
    server: str


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""
    return [bound(site, read(PATHS), show), bound(site, post(PATHS), start)]


async def show(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Show the form, with the values of the URL (`profile`, `opt-NAME`) or else of the last start.

    400, with the form, if the URL asks for a profile or an option that is not available.
    """
    target = await target_of(site, request)
    owner, server = target.owner, target.server
    query = arguments(request)
    next_url = safe_next(query.get("next"), site.base)
    record = await site.store.servers.get(owner.name, server)
    if record is not None and is_ready(record):
        return go(open_url(site, record, next_url), status=302)
    if record is not None and pending(record):
        return go(site.at("spawn-pending", owner.name, server, next=next_url), status=302)
    profile_name = query.get("profile", "")
    if profile_name and site.config.profile_named(profile_name) is None:
        errors = {"profile": f"There is no profile named {profile_name[:NAME_SHOWN]!r}. Choose another one."}
        return await render_form(
            site, request, target, FormState(chosen="", values={}, next_url=next_url, errors=errors, status=400)
        )
    last = record is not None and site.config.profile_named(record.profile) is not None
    profile = site.config.profile_named(profile_name or (record.profile if record and last else ""))
    if profile is None:
        return await render_form(site, request, target, FormState(chosen="", values={}, next_url=next_url))
    return await render_form(
        site, request, target, await _filled(site, target, profile, record=record, query=query, next_url=next_url)
    )


async def _filled(
    site: Site, target: Target, profile: ProfileConfig, *, record: Server | None, query: dict[str, str], next_url: str
) -> FormState:
    """Return the form with the values of the last start, and over them those of the URL."""
    values: dict[str, Any] = {}
    refused: dict[str, str] = {}
    again = record if record is not None and record.profile == profile.name else None
    names = [*profile.option, CLUSTER] if has_choice(profile) else list(profile.option)
    in_url = picked_in(query, profile.name) | {name: query[name] for name in names if name in query}
    there = on_cluster_if_offered(profile, {**({CLUSTER: again.cluster} if again else {}), **in_url})
    facts = await facts_of(site, there.clusters[0], target.owner)
    if again is not None:
        values = still_good(there, facts, again.choices)
        if has_choice(profile):
            values[CLUSTER] = there.clusters[0]
        refused = _refused_last_time(profile, again)
    values |= in_url
    found = faults_in(profile, facts, values) if in_url else {}
    errors = {name: message for name, message in found.items() if name in in_url}
    if errors:
        problem = "The link asks for something that is not available. See below."
        return FormState(
            chosen=profile.name, values=values, next_url=next_url, errors=errors, problem=problem, status=400
        )
    problem = "The last start was refused. See below." if refused else ""
    return FormState(chosen=profile.name, values=values, next_url=next_url, errors=refused, problem=problem)


async def start(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Start the server and redirect to its progress, or show the form again with what is wrong.

    With `look`, nothing is started: the form is shown again with what is available for these choices.
    """
    target = await target_of(site, request)
    owner, server = target.owner, target.server
    fields = await read_form(request)
    next_url = safe_next(fields.get("next"), site.base)
    again = "again" in fields
    profile = None if again else fields.get("profile")
    picked = None if again else picked_in(fields, profile or "")
    if "look" in fields:
        state = FormState(chosen=profile or "", values=dict(picked or {}), next_url=next_url)
        return await render_form(site, request, target, state)
    try:
        _, record = await server_actions.start(site, request, owner, server, profile=profile, picked=picked)
    except (ChoicesError, NameRuleError) as error:
        errors = error.fields if isinstance(error, ChoicesError) else {"name": str(error)}
        state = FormState(chosen=profile or "", values=dict(picked or {}), next_url=next_url, errors=errors, status=400)
        return await render_form(site, request, target, state)
    if is_ready(record):
        return go(open_url(site, record, next_url))
    return go(site.at("spawn-pending", owner.name, server, next=next_url))


async def target_of(site: Site, request: Request[Any, Any, Any]) -> Target:
    """Return whose server it is. Raises 403, 404 and NameRuleError."""
    name, server = request.path_params.get("name", ""), request.path_params.get("server", "")
    identity, owner = await need_user(site, request, "start:servers", name or signed_in(request).user.name, server)
    server_name(server)
    return Target(identity=identity, owner=owner, server=server)


async def render_form(site: Site, request: Request[Any, Any, Any], target: Target, state: FormState) -> Response[bytes]:
    """Render the form."""
    picked = site.config.profile_named(state.chosen) if state.chosen or "profile" not in state.errors else None
    there = {
        profile.name: on_cluster_if_offered(profile, state.values if profile is picked else {})
        for profile in site.config.profile
        if profile is picked or not state.editing
    }
    known = await facts_for_all(site, (profile.clusters[0] for profile in there.values()), target.owner)
    shown = {*picked.option, *({CLUSTER} if has_choice(picked) else ())} if picked else set()
    above = " ".join(
        message if field in WHOLE_FORM else f"{field}: {message}"
        for field, message in state.errors.items()
        if field not in shown
    )
    sheets = [
        sheet(
            site,
            profile,
            known[there[profile.name].clusters[0]],
            state.values if profile is picked else {},
            state.errors if profile is picked else {},
            editing=state.editing,
        )
        for profile in site.config.profile
        if profile.name in there
    ]
    usual = "Some of your choices are not available. See below." if state.errors else ""
    return page(
        site,
        request,
        "spawn.html",
        state.status,
        user=target.identity.user,
        owner=target.owner,
        name=target.server,
        sheets=sheets,
        asks=any(one.time is not None or len(one.clusters) > 1 for one in sheets),
        editing=state.editing,
        server=await site.store.servers.get(target.owner.name, target.server) if state.editing else None,
        chosen=picked.name if picked else "",
        clusters=len(site.config.cluster),
        problem=above or state.problem or usual,
        next=state.next_url,
        offer_url=site.at("api", "towpath", "offer", user=target.owner.name),
    )


def _refused_last_time(profile: ProfileConfig, record: Server) -> dict[str, str]:
    """Return what the scheduler said about the last attempt, for the field that it concerns."""
    reason = record.reason
    if record.status is not Status.FAILED or reason is None or not reason.field:
        return {}
    message = f"{reason.message} {reason.hint}".strip()
    name = next((name for name, option in profile.option.items() if option.kind == reason.field), reason.field)
    return {name: message}
