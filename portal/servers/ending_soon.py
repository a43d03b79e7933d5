"""Which of a user's servers reach their time limit soon. Every page warns of them.

Owns what the warning needs. `portal/static/page.js` shows it when the time comes, on a page that stays open.
"""

from typing import Any, Final

from litestar import Request
from msgspec import Struct

from portal.site.site import PAGE_VALUES, Site
from state.records.models import Server
from state.records.readiness import is_ready

WARN_SECONDS: Final = 15 * 60
"""The warning is visible so many seconds before the end."""
LOOK_AHEAD: Final = 24 * 3600
"""A page has the hidden warnings of servers that end within so many seconds after it was rendered."""
SHOWN: Final = 5


class EndingServer(Struct, frozen=True, kw_only=True):
    """A running server with a time limit. `visible`: whether the warning is due."""

    label: str
    deadline: float
    visible: bool


async def find_ending(site: Site, request: Request[Any, Any, Any]) -> None:
    """Store in the request's state which servers of the signed-in user end soon."""
    identity = request.scope["state"].get("identity")
    if identity is None or identity.session is None:
        return
    servers = await site.store.servers.of_user(identity.user.name)
    found = ending(servers, now=site.clock())
    request.scope["state"][PAGE_VALUES] = {"ending": found, "warn_seconds": WARN_SECONDS}


def ending(servers: list[Server], *, now: float) -> tuple[EndingServer, ...]:
    """Return the servers that end soon, the next one first."""
    limited = [
        (server.deadline, server)
        for server in servers
        if is_ready(server) and server.deadline is not None and now < server.deadline <= now + LOOK_AHEAD
    ]
    limited.sort(key=lambda pair: pair[0])
    return tuple(
        EndingServer(
            label=server.display_name or server.name or "Your server",
            deadline=deadline,
            visible=deadline - now <= WARN_SECONDS,
        )
        for deadline, server in limited[:SHOWN]
    )
