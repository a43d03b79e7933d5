"""Which server a WebSocket for SSH means, and whether the caller may connect to it.

Owns the path, and the order of the checks. Such a path never reaches an app. Does not know what flows there.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import unquote_to_bytes

from gateway.door.access import NO_ACCESS, may_connect
from gateway.door.activity import ConnectionAudit
from gateway.door.contracts import Refusal
from gateway.door.server_access import AWAY
from gateway.door.store_lookups import Lookups, looked_up
from gateway.wire import Request
from portal.audit.recorder import Damper
from state.mirror.mirror import Mirror
from state.records.connect import CLIENT_KEY, connect_route
from state.records.models import Route
from state.rights.identity import Identity

NOT_SIGNED_IN: Final = "Send a valid token. To get one: towpath-connect login."
NOT_RUNNING: Final = "This server is not running. Start it on the hub's page, then connect again."
NOT_SERVED: Final = (
    "This server does not accept SSH: its profile does not allow it, or its node cannot serve it. The server's page"
    " and log say more."
)
TOO_MANY: Final = "You have opened too many connections by SSH in this minute. Try again in a minute."
MOST_A_MINUTE: Final = 120
"""Connections of one user through one worker: each is in the audit, and must not displace the entries of others."""
REMEMBERED: Final = 10_000
NO_KEY: Final = "The request has no public key."


class Connections:
    """The rule for WebSockets under `prefix`."""

    def __init__(
        self,
        prefix: str,
        mirror: Mirror,
        find: Callable[[str, str], Awaitable[Route | None]],
        audit: ConnectionAudit,
    ) -> None:
        """`find`: a server's route in the store."""
        self.prefix = prefix.encode()
        self._mirror = mirror
        self._find = find
        self._audit = audit
        self._counts: dict[str, Damper] = {}

    def authorize(self, request: Request, identity: Identity | None, path: bytes, lookups: Lookups) -> Route:
        """Return the route to SSH in the server's job. Raises Refusal and LookupNeeded."""
        if identity is None:
            raise Refusal(401, NOT_SIGNED_IN)
        user, name = self._names(path)
        if not may_connect(identity, user, name):
            self._audit(request, identity, user, name, refused=True)
            raise Refusal(403, NO_ACCESS, user=identity.key)
        if not self._mirror.fresh:
            raise Refusal(503, AWAY)
        route = self._mirror.lookup(user, name)
        if route is None or route.name != name:
            # This worker's mirror may be late: a user who was told "ready" must not find nothing.
            late = looked_up("route", lookups, lambda: self._find(user, name))
            assert late is None or isinstance(late, Route)
            route = late
        if route is None:
            raise Refusal(424, NOT_RUNNING)
        leads_to_ssh = connect_route(route)
        if leads_to_ssh is None:
            raise Refusal(409, NOT_SERVED)
        if not any(field == _KEY_FIELD for field, _ in request.head.fields):
            raise Refusal(400, NO_KEY)
        if not self._count(identity.key):
            raise Refusal(429, TOO_MANY)
        self._audit(request, identity, user, name, refused=False)
        return leads_to_ssh

    def _count(self, who: str) -> bool:
        """Count a connection; return False if there were too many."""
        if who not in self._counts and len(self._counts) >= REMEMBERED:
            self._counts.clear()
        return self._counts.setdefault(who, Damper(MOST_A_MINUTE)).allows(time.time())

    def _names(self, path: bytes) -> tuple[str, str]:
        """Return the user and the server that a path names. Raises Refusal."""
        parts = path[len(self.prefix) :].split(b"/")
        try:
            user, name = (unquote_to_bytes(part).decode() for part in parts)
        except (ValueError, UnicodeDecodeError) as error:
            raise Refusal(404, "A path for SSH is USER/SERVER, or USER/ for the default server.") from error
        return user, name


_KEY_FIELD: Final = CLIENT_KEY.lower().encode()
