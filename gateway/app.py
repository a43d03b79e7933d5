"""The ASGI entry: every request and every WebSocket passes here, is authorised, and only then goes on.

Owns: the order of the checks. Refuses to know how bytes reach an app (`gateway.tunnel`), what a page looks like
(`portal`) and where sessions are kept (`state`).

    path -> who is asking -> sent by our own page? -> hub page or API: the portal
                                                   -> /user/...: may they? -> is there a route? -> the tunnel

The hot path (a known session on a known route) awaits nothing but the tunnel.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from gateway import paths
from gateway.auth.cookies import CookieJar
from gateway.auth.credentials import Brought, bearer
from gateway.origin import SAFE_METHODS, from_ourselves, own_origin
from gateway.tunnel import Caller, Tunnel, UpstreamError
from state.errors import StateUnavailableError
from state.mirror import Identity, Mirror
from state.names import server_key
from state.records import Route
from state.scopes import may
from state.store.credentials import digest

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

_SLASHLESS: Final = frozenset({"GET", "HEAD"})


_AWAY: Final = (
    "The hub's store is away, so nobody's right can be checked now. Running servers go on; try again in a minute."
)


class Refusal(Exception):  # noqa: N818 - it is an answer, not a fault
    """The request goes no further. `sign_in`: a person could sign in and try again."""

    def __init__(self, status: int, message: str, *, sign_in: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.sign_in = sign_in


class Answers(Protocol):
    """What is said instead of an app's answer: pages for people, JSON for programs."""

    async def refuse(self, scope: Scope, send: Send, status: int, message: str, *, page: bool) -> None:
        """An error. `message` is a sentence."""

    async def sign_in(self, scope: Scope, send: Send, *, page: bool) -> None:
        """Nobody is signed in: to the sign-in page and back, or JSON 403."""

    async def redirect(self, send: Send, location: str) -> None:
        """302 to a path of ours."""

    async def not_running(
        self, scope: Scope, send: Send, identity: Identity, user: str, segment: str, *, page: bool
    ) -> None:
        """There is no route: the start or pending page, or JSON 424."""


class App:
    """The ASGI application of one worker."""

    def __init__(
        self,
        *,
        mirror: Mirror,
        tunnel: Tunnel,
        portal: Asgi,
        answers: Answers,
        jar: CookieJar,
        find: Callable[[str, str], Awaitable[Route | None]],
        base_path: str,
        scheme: str,
        allowed_hosts: frozenset[bytes] | None,
    ) -> None:
        """Nothing is opened yet.

        `find`: as the mirror's `lookup`, but in the store. `scheme`: of the URL that browsers use.
        `allowed_hosts`: host names that we answer to; None: any.
        """
        self._mirror = mirror
        self._tunnel = tunnel
        self._portal = portal
        self._answers = answers
        self._jar = jar
        self._find = find
        self._base_path = base_path
        self._user_prefix = f"{base_path}user/".encode()
        self._api_prefix = f"{base_path}hub/api/".encode()
        self._scheme = scheme
        self._allowed_hosts = allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or WebSocket."""
        kind = scope["type"]
        if kind == "http":
            await self._http(scope, receive, send)
        elif kind == "websocket":
            await self._websocket(scope, receive, send)

    # --- HTTP ----------------------------------------------------------------------------------------------

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        brought = Brought(scope["headers"])
        try:
            identity, by_cookie, target = await self._admit(scope, brought, unsafe=scope["method"] not in SAFE_METHODS)
            if target is None:
                scope.setdefault("state", {})["identity"] = identity
                await self._portal(scope, receive, send)
                return
            identity, route = await self._authorise(identity, target)
            if not target.complete and scope["method"] in _SLASHLESS:
                await self._answers.redirect(send, _with_query(scope, scope["raw_path"].decode("ascii") + "/"))
            elif route is None:
                await self._answers.not_running(
                    scope, send, identity, target.user, target.segment, page=brought.wants_page
                )
            else:
                caller = Caller(user=identity.user.name, digest=identity.digest, by_cookie=by_cookie)
                await self._tunnel.http(scope, receive, send, route, caller=caller)
        except Refusal as refusal:
            if refusal.sign_in and brought.authorization is None:
                await self._answers.sign_in(scope, send, page=brought.wants_page)
            else:
                await self._answers.refuse(scope, send, refusal.status, str(refusal), page=brought.wants_page)
        except UpstreamError as error:
            await self._answers.refuse(scope, send, error.status, str(error), page=brought.wants_page)

    # --- WebSocket -----------------------------------------------------------------------------------------

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refused before anything is opened upstream, unless every check holds."""
        brought = Brought(scope["headers"])
        try:
            identity, by_cookie, target = await self._admit(scope, brought, unsafe=True)
            if target is None:
                raise Refusal(404, "There is no WebSocket here.")
            identity, route = await self._authorise(identity, target)
            if route is None:
                raise Refusal(424, "This server is not running.")
        except Refusal as refusal:
            await _deny(receive, send, refusal)
            return
        caller = Caller(user=identity.user.name, digest=identity.digest, by_cookie=by_cookie)
        await self._tunnel.websocket(scope, receive, send, route, caller=caller)

    # --- the checks ----------------------------------------------------------------------------------------

    async def _admit(
        self, scope: Scope, brought: Brought, *, unsafe: bool
    ) -> tuple[Identity | None, bool, paths.UserPath | None]:
        """Who asks (None: nobody), whether by a cookie, and for whose path (None: a hub page). Raises Refusal."""
        raw_path: bytes = scope["raw_path"]
        try:
            paths.check(raw_path)
            target = paths.user_path(raw_path, self._user_prefix)
        except paths.BadPathError as error:
            raise Refusal(400, str(error)) from error
        if self._allowed_hosts is not None and _host_name(brought.host) not in self._allowed_hosts:
            raise Refusal(421, "This hub does not answer to that host name. Use the address that it printed.")
        try:
            identity, by_cookie = await self._who(brought, at_app=target is not None)
        except StateUnavailableError as error:
            raise Refusal(503, _AWAY) from error
        if unsafe and (by_cookie or brought.authorization is None) and not self._from_ourselves(brought):
            raise Refusal(403, "This request was not sent by one of the hub's own pages, so it is refused.")
        return identity, by_cookie, target

    async def _authorise(self, identity: Identity | None, target: paths.UserPath) -> tuple[Identity, Route | None]:
        """The caller, and the route if there is one, when they may use it. Raises Refusal."""
        if identity is None:
            raise Refusal(403, "Sign in, or send a valid token.", sign_in=True)
        user, segment = target.user, target.segment
        route = self._mirror.lookup(user, segment)
        if route is None and (self._may_access(identity, user, "") or self._may_access(identity, user, segment)):
            route = await self._late(target)
        if not self._may_access(identity, user, route.name if route is not None else ""):
            # The same answer whether or not there is such a server: who runs what is nobody else's business.
            raise Refusal(403, "You have no access to this server.")
        if not self._mirror.fresh:
            raise Refusal(503, _AWAY)
        return identity, route

    async def _who(self, brought: Brought, *, at_app: bool) -> tuple[Identity | None, bool]:
        """Who is asking, and whether a cookie says so. A token in the header comes before a cookie.

        `at_app`: the request is for an app. An app's pages may send an Authorization header of the app's own
        (JupyterLab sends its token); it proves nothing to us, and the cookie decides.
        """
        if brought.authorization is not None:
            identity = await self._by_token(brought.authorization)
            if identity is not None or not at_app:
                return identity, False
        if brought.cookies:
            ticket = self._jar.ticket(brought.cookies)
            if ticket:
                return await self._by_ticket(ticket), True
        return None, False

    async def _by_token(self, authorization: bytes) -> Identity | None:
        secret = bearer(authorization)
        if secret is None:
            return None
        known = digest(secret)
        identity = self._mirror.peek(known) or await self._mirror.identify_token(known)
        if identity is None or identity.token is None:  # a ticket is no token
            return None
        self._mirror.note_token_use(known)
        return identity

    async def _by_ticket(self, ticket: str) -> Identity | None:
        known = digest(ticket)
        identity = self._mirror.peek(known) or await self._mirror.identify_session(known)
        if identity is None or identity.session is None:  # a token is no ticket
            return None
        return identity

    def _from_ourselves(self, brought: Brought) -> bool:
        return from_ourselves(
            origin=brought.origin,
            fetch_site=brought.fetch_site,
            own=own_origin(self._scheme, brought.host),
        )

    async def _late(self, target: paths.UserPath) -> Route | None:
        """A route that this worker's mirror has not heard of yet: whoever was told "ready" must not find nothing.

        Asked only for somebody who may use it. Raises Refusal.
        """
        try:
            return await self._find(target.user, target.segment)
        except StateUnavailableError as error:
            raise Refusal(503, _AWAY) from error

    def _may_access(self, identity: Identity, user: str, name: str) -> bool:
        if identity.session is not None and identity.user.name == user:
            return True
        return may(identity.scopes, "access:servers", server=server_key(user, name))


def _with_query(scope: Scope, path: str) -> str:
    query: bytes = scope["query_string"]
    return f"{path}?{query.decode('latin-1')}" if query else path


def _host_name(host: bytes) -> bytes:
    """The Host header without its port, in small letters (RFC 9110 section 7.2)."""
    host = host.lower()
    if host.startswith(b"["):
        return host[: host.find(b"]") + 1]
    return host.partition(b":")[0]


async def _deny(receive: Receive, send: Send, refusal: Refusal) -> None:
    """Refuse a WebSocket's handshake with a status of its own (ASGI extension `websocket.http.response`)."""
    await receive()
    body = str(refusal).encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "websocket.http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
