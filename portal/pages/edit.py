"""Changing the request of a server that waits in the queue.

Owns `/hub/edit/user[/server]`. The controller changes the job (`state.records.edits`).
"""

from typing import Any, Final

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from portal.pages.spawn import FormState, render_form, target_of
from portal.servers import change_actions
from portal.servers.form_values import picked_in
from portal.site.site import Site
from portal.web.methods import read
from portal.web.next_url import safe_next
from portal.web.responses import arguments, go, read_form
from portal.web.routing import bound
from state.errors import ChoicesError, TransitionError
from state.records.edits import editable

PATHS: Final = ["/edit/{name:str}", "/edit/{name:str}/{server:str}"]


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""
    return [bound(site, read(PATHS), show), bound(site, post(PATHS), save)]


async def show(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Show the form with the current request. If it is too late for a change, go to the server's progress."""
    target = await target_of(site, request)
    next_url = safe_next(arguments(request).get("next"), site.base)
    record = await site.store.servers.get(target.owner.name, target.server)
    if record is None or not editable(record):
        return go(site.at("spawn-pending", target.owner.name, target.server, next=next_url), status=302)
    choices = record.choices if record.edited is None else record.edited
    state = FormState(chosen=record.profile, values=dict(choices), next_url=next_url, editing=True)
    return await render_form(site, request, target, state)


async def save(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Ask for the change and go to the server's progress, or show the form again with what is wrong."""
    target = await target_of(site, request)
    owner, server = target.owner, target.server
    fields = await read_form(request)
    next_url = safe_next(fields.get("next"), site.base)
    profile = fields.get("profile", "")
    picked = picked_in(fields, profile)
    if "look" in fields:
        state = FormState(chosen=profile, values=dict(picked), next_url=next_url, editing=True)
        return await render_form(site, request, target, state)
    progress = go(site.at("spawn-pending", owner.name, server, next=next_url))
    try:
        await change_actions.edit(site, request, owner, server, profile=profile, picked=picked)
    except TransitionError:  # it has started meanwhile: the progress says so
        return progress
    except ChoicesError as error:
        state = FormState(
            chosen=profile, values=dict(picked), next_url=next_url, errors=error.fields, status=400, editing=True
        )
        return await render_form(site, request, target, state)
    return progress
