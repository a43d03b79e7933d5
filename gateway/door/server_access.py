"""Which server a path means, and whether the caller may use it."""

from collections.abc import Awaitable, Callable
from typing import Final

from gateway.door.access import NO_ACCESS, may_access
from gateway.door.contracts import Refusal, Visits
from gateway.door.origin import SAFE_METHODS
from gateway.door.paths import UserPath
from gateway.door.store_lookups import Lookups, looked_up
from gateway.wire import Request
from state.mirror.mirror import Mirror
from state.names import SERVER_NAME
from state.records.models import Route
from state.rights.identity import Identity

SAFE: Final = frozenset(method.encode() for method in SAFE_METHODS)
READ_ONLY: Final = "This server is shared with you read-only. You cannot change or run anything in it."
AWAY: Final = (
    "The hub's store is not available, so access cannot be checked. Running servers go on. Try again in a minute."
)


def is_writing(request: Request) -> bool:
    """Return whether a request is more than reading: a WebSocket, or of an unsafe method (RFC 9110 section 9.2.1)."""
    return request.head.websocket or request.method not in SAFE


class ServerAccess:
    """The rule for every request under `/user/`."""

    def __init__(self, mirror: Mirror, find: Callable[[str, str], Awaitable[Route | None]], visits: Visits) -> None:
        """`find`: a server's route in the store."""
        self._mirror = mirror
        self._find = find
        self._visits = visits

    def authorize(
        self, request: Request, identity: Identity, target: UserPath, lookups: Lookups
    ) -> tuple[str, Route | None]:
        """Return the server's name, and its route if it runs. Raises Refusal and LookupNeeded."""
        user = target.user
        route = self._mirror.lookup(user, target.segment)
        writing = is_writing(request)
        name = route.name if route is not None else ""
        if name != target.segment and (server_name := self._server_meant(identity, target, lookups)):
            name, route = server_name, None
        if route is None and may_access(identity, user, name, writing=writing):
            # This worker's mirror may be late: a user who was told "ready" must not find nothing.
            late = looked_up("route", lookups, lambda: self._find(user, name))
            assert late is None or isinstance(late, Route)
            route = late
        if not may_access(identity, user, name, writing=writing):
            self._visits(request, identity, user, name, refused=True)
            if writing and may_access(identity, user, name, writing=False):
                raise Refusal(403, READ_ONLY, user=identity.key)
            raise Refusal(403, NO_ACCESS, user=identity.key)
        if not self._mirror.fresh:
            raise Refusal(503, AWAY)
        if route is not None and not identity.is_user(user):
            self._visits(request, identity, user, name, refused=False)
        return name, route

    def _server_meant(self, identity: Identity, target: UserPath, lookups: Lookups) -> str:
        """Return the name of the server that a path means: its segment, if the user has a server of that name.

        Running or not: a path of a stopped server must not reach the app of the default one. Raises LookupNeeded.
        """
        user, segment = target.user, target.segment
        if not segment or not SERVER_NAME.fullmatch(segment):
            return ""
        may = [name for name in ("", segment) if may_access(identity, user, name, writing=False)]
        if "" not in may:
            # A caller who may use only the named one is told that it does not run, and nothing of the other.
            return segment if may else ""
        names = self._mirror.server_names.peek(user)
        if names is None:
            learnt = looked_up("names", lookups, lambda: self._mirror.server_names.learn(user))
            assert isinstance(learnt, frozenset)
            names = learnt
        return segment if segment in names else ""
