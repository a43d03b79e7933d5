"""The hub's own responses in place of an app's.

Owns the choice of the portal's response. Does not know what it looks like.
"""

from gateway.door.access import NO_ACCESS, may_access
from portal.refusals.pages import Answer, ErrorPages
from portal.rights.access import View
from state import names
from state.errors import BadRecordError, NameRuleError, StateUnavailableError
from state.records.models import Server
from state.rights.identity import Identity
from state.store.all import Store


class PortalAnswers:
    """`gateway.door.contracts.Answers`, with the portal's pages."""

    def __init__(self, pages: ErrorPages, store: Store) -> None:
        self._pages = pages
        self._store = store

    def refuse(self, status: int, message: str, *, page: bool) -> Answer:
        """Return an error response. `message` is a sentence."""
        return self._pages.error(status, html=page, message=message)

    def sign_in(self, target: str, *, page: bool) -> Answer:
        """Return the response for a caller who is not signed in."""
        return self._pages.sign_in_first(html=page, path=target)

    async def not_running(self, target: str, identity: Identity, user: str, segment: str, *, page: bool) -> Answer:
        """Return the start or pending page, or JSON 424; 404 for a user who does not exist.

        403 if the path belongs to another server than the one that the caller may use.
        """
        try:
            name, server = await self._which(user, segment)
            owner = identity.user if identity.is_user(user) else await self._store.users.get(user)
        except StateUnavailableError as error:
            return self.refuse(503, str(error), page=page)
        except BadRecordError as error:
            return self.refuse(500, str(error), page=page)
        if owner is None:
            return self.refuse(404, "There is no such user.", page=page)
        if not may_access(identity, user, name, writing=False):
            return self.refuse(403, NO_ACCESS, page=page)
        itself, view = identity.is_user(user), View(identity)
        return self._pages.stopped_page(
            html=page,
            user=user,
            name=name,
            server=server,
            path=target,
            may_start=itself or view("servers", owner, name),
            may_look=itself or view("read:servers", owner, name),
        )

    async def no_answer(self, target: str, user: str, name: str, status: int, message: str, *, itself: bool) -> Answer:
        """Return the page of a server that should answer, with its job's id. The caller may use the server."""
        try:
            server = await self._store.servers.get(user, name)
        except (StateUnavailableError, BadRecordError):
            server = None
        return self._pages.unreachable(status, message, user=user, name=name, server=server, path=target, itself=itself)

    async def _which(self, user: str, segment: str) -> tuple[str, Server | None]:
        """Return the server of a path: the named one if it exists, otherwise the default one."""
        try:
            named = await self._store.servers.get(user, names.server_name(segment)) if segment else None
        except NameRuleError:
            named = None
        if named is not None:
            return segment, named
        return "", await self._store.servers.get(user, "")
