"""A server's progress as server-sent events, from the server's stream in Redis: any worker can serve it.

Owns JupyterHub's event keys, resuming after `Last-Event-ID`, and the end of the stream. Does not know the caller.
Sources: JupyterHub 6.1 progress API; WHATWG HTML, section 9.2 (server-sent events).
"""

import re
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from markupsafe import Markup, escape
from msgspec.structs import replace

from portal.servers.models import facts_model, pending, reason_model
from portal.site.site import Site
from state.records.lifecycle import PROGRESS
from state.records.models import Event, Server, Status
from state.records.readiness import is_ready

KEEPALIVE_SECONDS: Final = 8.0
STREAM_ID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")
KEEPALIVE: Final = b"\n\n"


def resume_point(last_event_id: str | None) -> str:
    """Return where to continue: the id that the browser last received, or `"0"` for the beginning."""
    return last_event_id if last_event_id and STREAM_ID.fullmatch(last_event_id) else "0"


def final(server: Server, attempt: str, url: str) -> dict[str, Any] | None:
    """Return the last event of an attempt's stream; None while the server is starting. Pure."""
    if server.attempt != attempt:
        return {"progress": 100, "failed": True, "message": "Spawn failed: the server was started again."}
    if is_ready(server):
        link = Markup('Server ready at <a href="{url}">{url}</a>').format(url=url)
        return {
            "progress": 100,
            "ready": True,
            "message": f"Server ready at {url}",
            "html_message": str(link),
            "url": url,
        }
    if pending(server) == "spawn":
        return None
    reason = server.reason
    if server.status is Status.FAILED and reason is not None:
        message = f"Spawn failed: {reason.message}"
        failure = reason_model(reason)
    else:
        message = (
            "Spawn failed: The start was cancelled."
            if server.ready is None
            else "Spawn failed: The server was stopped."
        )
        failure = {"code": "stopped", "message": message.removeprefix("Spawn failed: ")}
    return {
        "progress": 100,
        "failed": True,
        "message": message,
        "html_message": str(escape(message)),
        "reason": failure,
    }


def line(event: Event, facts: dict[str, Any]) -> bytes:
    """Return an event of the stream, with the id to resume after and the server's current state."""
    progress = {
        "progress": min(event.progress, 99),
        "message": event.message,
        "status": event.status,
        "time": event.time,
    }
    return frame(progress | facts, event.id)


def facts_of(site: Site, server: Server | None) -> dict[str, Any]:
    """Return the server's state on its cluster, and whether it waits for the hub itself."""
    return {**facts_model(server), "starts_wait": site.health.starts_wait} if server else {}


def frame(data: dict[str, Any], stream_id: str = "") -> bytes:
    """Return a server-sent event. JSON contains no raw line break, so one data line is enough."""
    head = b"id: " + stream_id.encode() + b"\n" if stream_id else b""
    return head + b"data: " + msgspec.json.encode(data) + b"\n\n"


async def follow(site: Site, server: Server, *, after: str) -> AsyncIterator[bytes]:
    """Yield the events of this attempt after `after`, then the final one. Ends when ready or failed.

    If the record changes without an event (another place in the queue), the last event is repeated without an id.
    """
    user, name, attempt = server.user, server.name, server.attempt
    url = site.server(user, name)
    current: Server | None = server
    sent: dict[str, Any] | None = None  # a browser that resumes may know an older place in the queue
    while True:
        last = (
            final(current, attempt, url)
            if current
            else {"progress": 100, "failed": True, "message": "Spawn failed: The server was removed."}
        )
        wait = 0.0 if last else KEEPALIVE_SECONDS
        events = await site.store.servers.events(user, name, after=after, timeout=wait)
        if last and not events:
            yield frame(last)
            return
        current = await site.store.servers.get(user, name)
        for event in events:
            after = event.id
            if event.attempt == attempt and event.progress < PROGRESS[Status.READY]:
                sent = facts_of(site, current)
                yield line(event, sent)
        again = await _again(site, current, attempt, sent)
        if again is not None and current is not None:
            sent = facts_of(site, current)
            yield line(again, sent)
        elif not events:
            yield KEEPALIVE


async def _again(site: Site, server: Server | None, attempt: str, sent: dict[str, Any] | None) -> Event | None:
    """Return the attempt's last event without its id if the record has changed since; None: there is nothing new."""
    if server is None or server.attempt != attempt or pending(server) != "spawn" or facts_of(site, server) == sent:
        return None
    events = await site.store.servers.events(server.user, server.name)
    mine = [event for event in events if event.attempt == attempt and event.progress < PROGRESS[Status.READY]]
    return replace(mine[-1], id="") if mine else None
