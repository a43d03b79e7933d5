"""The live progress of a start, the reason of a failure, and the redirect to a ready server.

Owns `/hub/spawn-pending/user[/server]`. Does not know where events come from: the script reads the API's progress, and
without a script the page refreshes itself.
"""

from typing import Any

from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler

from portal.pages.forms import asks_for, has_options, open_url
from portal.rights.access import View, need_user
from portal.servers.models import pending, progress_path
from portal.site.site import Site
from portal.web.methods import read
from portal.web.next_url import safe_next
from portal.web.responses import arguments, go, page
from state.records.edits import editable
from state.records.endings import as_told_to
from state.records.lifecycle import PROGRESS
from state.records.models import Server, Status, User
from state.records.readiness import is_ready
from state.rights.identity import Identity

EVENTS_MAX = 100


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""

    @read(["/spawn-pending/{name:str}", "/spawn-pending/{name:str}/{server:str}"])
    async def show(request: Request[Any, Any, Any]) -> Response[bytes]:
        name, server = request.path_params["name"], request.path_params.get("server", "")
        identity, owner = await need_user(site, request, "read:servers", name, server)
        next_url = safe_next(arguments(request).get("next"), site.base)
        record = await site.store.servers.get(owner.name, server)
        if record is None:
            return go(site.at("spawn", owner.name, server, next=next_url), status=302)
        ready_url = open_url(site, record, next_url)
        if is_ready(record):
            return go(ready_url, status=302)
        way = pending(record)
        recorded = await site.store.servers.events(owner.name, server, limit=EVENTS_MAX) if way == "spawn" else []
        events = [event for event in recorded if event.attempt == record.attempt]
        # A cluster without a queue gives no reason for waiting. There, the server is starting.
        in_queue = record.status is Status.QUEUED and record.waiting is not None
        return page(
            site,
            request,
            "pending.html",
            user=identity.user,
            server=record,
            coming=way == "spawn",
            in_queue=in_queue,
            waiting=record.waiting,
            stale_since=events[-1].time if events else None,
            asks=asks_for(site, record),
            stopping=way == "stop",
            events=events,
            message=events[-1].message if events else "Requested.",
            progress=events[-1].progress if events else PROGRESS[record.status],
            progress_url=progress_path(site.base, record),
            ready_url=ready_url,
            next=next_url,
            now=site.clock(),
            has_options=has_options(site),
            can_edit=_can_edit(site, identity, owner, record),
            reason=as_told_to(record.reason, owner=record.user, viewer=identity.user.name),
        )

    return [show]


def _can_edit(site: Site, identity: Identity, owner: User, server: Server) -> bool:
    """Return whether the caller can change the request of this server."""
    profile = site.config.profile_named(server.profile)
    options = profile is not None and bool(profile.option)
    return options and editable(server) and View(identity)("start:servers", owner, server.name)
