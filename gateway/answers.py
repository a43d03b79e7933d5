"""What is said instead of an app's answer, sent as raw ASGI.

Owns: which of the portal's answers fits, and how it is sent. Refuses to know what they look like.
"""

from typing import Any

from gateway.app import Scope, Send
from portal.errors import Answer, ErrorPages
from state import names
from state.errors import NameRuleError, StateUnavailableError
from state.mirror import Identity
from state.records import Server
from state.store.all import Store


class PortalAnswers:
    """`gateway.app.Answers`, with the portal's pages."""

    def __init__(self, pages: ErrorPages, store: Store) -> None:
        self._pages = pages
        self._store = store

    async def refuse(self, scope: Scope, send: Send, status: int, message: str, *, page: bool) -> None:
        """An error. `message` is a sentence."""
        await _send(scope, send, self._pages.error(status, html=page, message=message))

    async def sign_in(self, scope: Scope, send: Send, *, page: bool) -> None:
        """Nobody is signed in."""
        await _send(scope, send, self._pages.sign_in_first(html=page, path=_here(scope)))

    async def redirect(self, send: Send, location: str) -> None:
        """302 to a path of ours."""
        headers = [(b"location", location.encode("latin-1")), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 302, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def not_running(
        self, scope: Scope, send: Send, identity: Identity, user: str, segment: str, *, page: bool
    ) -> None:
        """There is no route: the start or pending page, or JSON 424; 404 for a user that there is not."""
        try:
            name, server = await self._which(user, segment)
            known = user == identity.user.name or await self._store.users.get(user) is not None
        except StateUnavailableError as error:
            await self.refuse(scope, send, 503, str(error), page=page)
            return
        if not known:
            await self.refuse(scope, send, 404, "There is no such user.", page=page)
            return
        answer = self._pages.stopped_page(html=page, user=user, name=name, server=server, path=_here(scope))
        await _send(scope, send, answer)

    async def _which(self, user: str, segment: str) -> tuple[str, Server | None]:
        """The server that the path means: the named one if there is one of that name, else the default one."""
        try:
            named = await self._store.servers.get(user, names.server_name(segment)) if segment else None
        except NameRuleError:
            named = None
        if named is not None:
            return segment, named
        return "", await self._store.servers.get(user, "")


def _here(scope: Scope) -> str:
    query: bytes = scope["query_string"]
    path: str = scope["raw_path"].decode("latin-1")
    return f"{path}?{query.decode('latin-1')}" if query else path


async def _send(scope: Scope, send: Send, answer: Answer) -> None:
    start: dict[str, Any] = {"type": "http.response.start", "status": answer.status, "headers": answer.headers}
    await send(start)
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})
