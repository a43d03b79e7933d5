"""The door's decisions: every request and every WebSocket is authorized here before it is forwarded.

Owns the order of the checks. Does not know how bytes come (`gateway.wire`) and how they reach an app
(`gateway.tunnel`), what a page looks like (`portal`) and where sessions are stored (`state`).

    path -> identity -> sent by our own page? -> hub page or API: the portal
                                              -> /user/...: access? -> route? -> the tunnel

The checks are one plain function of what this worker knows (`_decide`). If something is missing (a session or a route
that the mirror does not have yet), it raises `_Ask`. A task then asks the store, and the checks start again with the
answer. So the hot path consists only of calls, and the checks exist only once.

Everything that depends only on a head is computed once for all requests that repeat it (`_Proof`, cached in
`Head.memo`). Its validity is checked at every request.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import lru_cache
from typing import Final, Protocol

from gateway.auth.cookies import CookieJar
from gateway.auth.credentials import Brought, bearer
from gateway.door import paths
from gateway.door.access import NO_ACCESS, may_access
from gateway.door.edge_check import EdgeCheck
from gateway.door.hosts import Hosts
from gateway.door.origin import SAFE_METHODS, from_ourselves, own_origin
from gateway.door.services import ServiceRoutes, unauthenticated
from gateway.oauth.hub_apps import NOTHING, AppCredentials, HubApps
from gateway.tunnel import Caller, Tunnel, UpstreamError, cors
from gateway.tunnel.public_address import PublicAddress
from gateway.wire import Request
from gateway.wire.heads import Head
from portal.refusals.pages import Answer
from state.errors import BadRecordError, StateUnavailableError
from state.mirror.mirror import Mirror
from state.names import SERVER_NAME
from state.records.models import Route
from state.rights.identity import Identity
from state.store.credentials import digest

log = logging.getLogger("towpath.door")

_SAFE: Final = frozenset(method.encode() for method in SAFE_METHODS)
_SLASHLESS: Final = frozenset({b"GET", b"HEAD"})
_PATHS: Final = 4096
_PATH_MAX: Final = 256

_AWAY: Final = (
    "The hub's store is away, so nobody's right can be checked now. Running servers go on; try again in a minute."
)


class Refusal(Exception):  # noqa: N818 - it is an answer, not a fault
    """The request is rejected. `sign_in`: a user could sign in and try again."""

    def __init__(self, status: int, message: str, *, sign_in: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.sign_in = sign_in


class Answers(Protocol):
    """The hub's own responses in place of an app's: pages for browsers, JSON for programs."""

    def refuse(self, status: int, message: str, *, page: bool) -> Answer:
        """Return an error response. `message` is a sentence."""

    def sign_in(self, target: str, *, page: bool) -> Answer:
        """Redirect to the sign-in page and back to `target`, or return JSON 403."""

    async def not_running(self, target: str, identity: Identity, user: str, segment: str, *, page: bool) -> Answer:
        """Return the start or pending page, or JSON 424, if there is no route."""


class Portal(Protocol):
    """The hub's own pages and API."""

    def handle(self, request: Request, identity: Identity | None) -> None:
        """Answer a request of `identity` (None: not signed in)."""


class Visits(Protocol):
    """Called when a user uses, or tries to use, another user's server. Must not block."""

    def __call__(self, request: Request, identity: Identity, user: str, name: str, *, refused: bool) -> None:
        """`name`: of `user`'s server, as far as it is known."""


Answered = Identity | Route | frozenset[str] | None
StoreAnswers = dict[str, Answered]


class _Ask(Exception):  # noqa: N818 - it is a question
    """The worker needs information from the store. `ask` fetches it; its result is expected under `key`."""

    def __init__(self, key: str, ask: Callable[[], Awaitable[Answered]]) -> None:
        super().__init__(key)
        self.key = key
        self.ask = ask


class _Proof:
    """What follows from a head, computed once: the digests of its credentials, and whether the hub's page sent it."""

    __slots__ = ("brought", "caller", "host_is_ours", "identity", "label", "ours", "tickets", "token")

    def __init__(
        self, brought: Brought, *, token: str, tickets: tuple[str, ...], ours: bool, host_is_ours: bool, label: str
    ) -> None:
        self.brought = brought
        self.token = token
        self.tickets = tickets
        self.ours = ours
        self.host_is_ours = host_is_ours
        self.label = label
        self.identity: Identity | None = None
        self.caller: Caller | None = None

    def caller_of(self, identity: Identity, *, by_cookie: bool, told: AppCredentials) -> Caller:
        """Return the caller; the same object as last time if nothing has changed."""
        caller = self.caller
        if (
            caller is None
            or self.identity is not identity
            or caller.by_cookie is not by_cookie
            or (caller.authorization, caller.cookie) != told
        ):
            authorization, cookie = told
            caller = Caller(
                user=identity.key,
                digest=identity.digest,
                by_cookie=by_cookie,
                authorization=authorization,
                cookie=cookie,
            )
            self.identity, self.caller = identity, caller
        return caller


class App:
    """The handler of one worker's requests."""

    def __init__(
        self,
        *,
        mirror: Mirror,
        tunnel: Tunnel,
        portal: Portal,
        edge_check: EdgeCheck,
        answers: Answers,
        jar: CookieJar,
        find: Callable[[str, str], Awaitable[Route | None]],
        hub_apps: HubApps,
        services: ServiceRoutes,
        visits: Visits,
        address: Callable[[Request], str],
        claim: Callable[[str], Awaitable[object]],
        hosts: Hosts | None,
        base_path: str,
        scheme: str,
        public: PublicAddress,
        unasked: str,
        allowed_hosts: frozenset[bytes] | None,
        cors_origins: Iterable[str] = (),
    ) -> None:
        """Create the handler. Nothing is opened yet.

        `find`: reads a server's route from the store. `address`: returns a request's client address.
        `claim`: see `state.store.imported`. `scheme`: of the URL
        that browsers use.
        `unasked`: the path under which requests carry a signed proof that the portal checks. No cookie
        signs in there, so the origin of the request does not matter.
        `allowed_hosts`: the allowed host names; None: all.
        `cors_origins`: of all profiles. A preflight request is answered for all alike, so that it tells nothing of
        who runs what.
        """
        self._mirror = mirror
        self._tunnel = tunnel
        self._portal = portal
        self._edge_check = edge_check
        self._answers = answers
        self._jar = jar
        self._find = find
        self._hub_apps = hub_apps
        self._services = services
        self._visits = visits
        self._address = address
        self._claim = claim
        self._hosts = hosts
        self._scheme = scheme
        self._public = public
        self._unasked = unasked.encode()
        self._allowed_hosts = allowed_hosts
        self._cors = cors.AllowedOrigins(cors_origins)
        self._tasks: set[asyncio.Task[None]] = set()
        self._prefix = prefix = f"{base_path}user/".encode()
        self._open_to_all = f"{base_path}hub/api/oauth2/token".encode()

        def read(path: bytes) -> paths.UserPath | None:
            paths.check(path)
            return paths.user_path(path, prefix)

        self._read = read
        self._read_short = lru_cache(_PATHS)(read)

    def handle(self, request: Request) -> None:
        """One request or WebSocket. See `gateway.wire.request.Handler`."""
        if request.target.startswith(self._edge_check.prefix):
            self._edge_check.handle(request)  # for any Host, because the check examines it
            return
        try:
            self._decide(request, {})
        except Refusal as refusal:
            self._refuse(request, refusal)
        except _Ask as question:
            self._spawn(request, self._find_out(request, question))

    async def _find_out(self, request: Request, question: _Ask) -> None:
        """Fetch what the checks need from the store, and run them again."""
        found: StoreAnswers = {}
        while True:
            try:
                found[question.key] = await question.ask()
                if request.open:
                    self._decide(request, found)
            except StateUnavailableError:
                self._refuse(request, Refusal(503, _AWAY))
            except BadRecordError as error:
                self._refuse(request, Refusal(500, str(error)))
            except Refusal as refusal:
                self._refuse(request, refusal)
            except _Ask as next_question:
                question = next_question
                continue
            return

    def _spawn(self, request: Request, work: Coroutine[None, None, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception:
                log.exception("A request could not be handled")
                self._refuse(request, Refusal(500, "The hub made a mistake."))

        task = asyncio.get_running_loop().create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- the checks ----------------------------------------------------------------------------------------

    def _decide(self, request: Request, found: StoreAnswers) -> None:
        """Run all checks in order, then forward the request. Raises Refusal and _Ask.

        `found`: what the store has returned for this request so far.
        """
        path = request.target.partition(b"?")[0]
        try:
            target = self._read_short(path) if len(path) < _PATH_MAX else self._read(path)
        except paths.BadPathError as error:
            raise Refusal(400, str(error)) from error
        head = request.head
        proof = self._proof_of(head)
        if self._hosts is not None and (there := self._hosts.elsewhere(proof.label, path, target)):
            self._send_there(request, there)
            return
        if target is not None and request.method == b"OPTIONS" and (fields := self._cors.preflight(head.fields)):
            request.respond(204, fields)
            return
        if target is None and path.startswith(self._services.prefix):
            self._serve(request, proof, path, found)
            return
        identity, by_cookie = self._who(proof, found, at_app=target is not None)
        unsafe = head.websocket or request.method not in _SAFE
        from_elsewhere = unsafe and not proof.ours and (by_cookie or proof.brought.authorization is None)
        # clients and providers authenticate in the body at these two
        if from_elsewhere and path != self._open_to_all and not path.startswith(self._unasked):
            raise Refusal(403, "This request was not sent by one of the hub's own pages.")
        if target is None:
            if head.websocket:
                raise Refusal(404, "There is no WebSocket here.")
            # an app's own reports do not count as activity of its owner
            if identity is not None and identity.service is None and not (identity.token and identity.token.of_app):
                self._mirror.note_user(identity.name)
            self._portal.handle(request, identity)
            return
        self._to_app(request, proof, identity, target, found, by_cookie=by_cookie)

    def _proof_of(self, head: Head) -> _Proof:
        """Return what a head brings. Raises Refusal if it is for another host than ours."""
        proof: _Proof | None = head.memo
        if proof is None:
            proof = head.memo = self._proof(Brought(head.fields))
        if not proof.host_is_ours:
            raise Refusal(421, "This hub does not serve that host name. Use the address that it printed.")
        return proof

    def _to_app(
        self,
        request: Request,
        proof: _Proof,
        identity: Identity | None,
        target: paths.UserPath,
        found: StoreAnswers,
        *,
        by_cookie: bool,
    ) -> None:
        """Forward a request to a user's server. Raises Refusal and _Ask."""
        head = request.head
        if identity is None and proof.label and proof.brought.wants_page and request.method in _SLASHLESS:
            self._lead_in(request, proof)
            return
        if identity is None:
            raise Refusal(403, "Sign in, or send a valid token.", sign_in=not proof.label)
        name, route = self._authorise(request, identity, target, found)
        if not target.complete or (name and not target.segment_complete):
            path, mark, query = request.target.partition(b"?")
            there = paths.proper(path, self._prefix, target.user, name) + mark + query
            if request.method in _SLASHLESS and not head.websocket:
                request.respond(302, [(b"location", there)])
                return
            request.target = there  # not every client repeats a body or a WebSocket after a redirect
        if route is not None:
            carry = self._tunnel.websocket if head.websocket else self._tunnel.http
            told = (
                self._app_credentials(proof, identity, route, found, by_cookie=by_cookie) if route.hub_app else NOTHING
            )
            caller = proof.caller_of(identity, by_cookie=by_cookie, told=told)
            carry(request, route, caller=caller, refuse=self._refuse_upstream)
        else:
            self._elsewhere(request, identity, target, page=proof.brought.wants_page)

    def _send_there(self, request: Request, origin: str) -> None:
        """Redirect to the host that serves this path. Raises Refusal for requests that cannot be redirected."""
        if request.head.websocket or request.method not in _SLASHLESS:
            raise Refusal(421, f"This host does not serve that path. Use {origin}.")
        request.respond(302, [(b"location", origin.encode() + request.target), (b"cache-control", b"no-store")])

    def _lead_in(self, request: Request, proof: _Proof) -> None:
        """Redirect a browser that is at a user's host for the first time through the hub."""
        assert self._hosts is not None  # a label exists only with hosts
        where, cookie = self._hosts.lead_in(request.target, proof.brought.cookies)
        fields = [(b"location", where), (b"set-cookie", cookie), (b"cache-control", b"no-store")]
        request.respond(302, [*fields, (b"referrer-policy", b"no-referrer")])

    def _serve(self, request: Request, proof: _Proof, path: bytes, found: StoreAnswers) -> None:
        """Forward a request to a service, which checks access itself. Raises Refusal and _Ask.

        Requests from other sites' pages with the browser's cookies are rejected.
        """
        brought = proof.brought
        unsafe = request.head.websocket or request.method not in _SAFE
        says = brought.origin is not None or brought.fetch_site is not None
        if unsafe and says and not proof.ours and brought.cookies and brought.authorization is None:
            raise Refusal(403, "This request was not sent by one of the hub's own pages.")
        route = self._services.at(path)
        if route is None:
            raise Refusal(404, "The service does not exist.")
        if len(path) < len(route.prefix):
            _, mark, query = request.target.partition(b"?")
            request.respond(302, [(b"location", route.prefix.encode() + mark + query)])
            return
        session = self._by_cookie(proof, found)
        if session is None:
            caller = unauthenticated(self._address(request))
        else:
            told = self._hub_apps.credentials(session, route, b"") or NOTHING
            caller = proof.caller_of(session, by_cookie=True, told=told)
        carry = self._tunnel.websocket if request.head.websocket else self._tunnel.http
        carry(request, route, caller=caller, refuse=self._refuse_upstream)

    def _app_credentials(
        self, proof: _Proof, identity: Identity, route: Route, found: StoreAnswers, *, by_cookie: bool
    ) -> AppCredentials:
        """Return the credentials for an app that identifies its users through the hub. Raises _Ask."""
        brought = b"" if by_cookie else proof.brought.authorization or b""
        told = self._hub_apps.credentials(identity, route, brought)
        if told is None:
            self._known(f"told {route.prefix}", found, lambda: self._hub_apps.prepare(identity, route, brought))
            told = self._hub_apps.credentials(identity, route, brought)
        return told or NOTHING

    def _elsewhere(self, request: Request, identity: Identity, target: paths.UserPath, *, page: bool) -> None:
        """Answer a permitted request for a server that is not running. Raises Refusal."""
        if request.head.websocket:
            raise Refusal(424, "This server is not running.")
        self._spawn(request, self._not_running(request, identity, target, page=page))

    def _server_meant(self, identity: Identity, target: paths.UserPath, found: StoreAnswers) -> str:
        """Return the name of a path's server: its segment, if the user has a server of that name.

        This includes stopped servers, whose paths must not reach the app of the default server. Raises _Ask.
        """
        user, segment = target.user, target.segment
        if not segment or not SERVER_NAME.fullmatch(segment):
            return ""
        may = [name for name in ("", segment) if may_access(identity, user, name, writing=False)]
        if "" not in may:
            # A caller with access only to the named server learns that it is not running, and nothing about the default
            # one.
            return segment if may else ""
        names = self._mirror.server_names.peek(user)
        if names is None:
            learnt = self._known("names", found, lambda: self._mirror.server_names.learn(user))
            assert isinstance(learnt, frozenset)
            names = learnt
        return segment if segment in names else ""

    def _authorise(
        self, request: Request, identity: Identity, target: paths.UserPath, found: StoreAnswers
    ) -> tuple[str, Route | None]:
        """Return the name of a server that the caller may use, and its route if it has one. Raises Refusal, _Ask."""
        user = target.user
        route = self._mirror.lookup(user, target.segment)
        writing = request.head.websocket or request.method not in _SAFE
        name = route.name if route is not None else ""
        if name != target.segment and (meant := self._server_meant(identity, target, found)):
            name, route = meant, None
        if route is None and may_access(identity, user, name, writing=writing):
            # This worker's mirror may be late: a user whose server was just reported ready must reach it.
            late = self._known("route", found, lambda: self._find(user, name))
            assert late is None or isinstance(late, Route)
            route = late
        if not may_access(identity, user, name, writing=writing):
            self._visits(request, identity, user, name, refused=True)
            if writing and may_access(identity, user, name, writing=False):
                raise Refusal(403, "This server is shared with you read-only. You cannot change or run anything in it.")
            raise Refusal(403, NO_ACCESS)
        if not self._mirror.fresh:
            raise Refusal(503, _AWAY)
        if route is not None and not identity.is_user(user):
            self._visits(request, identity, user, name, refused=False)
        return name, route

    def _who(self, proof: _Proof, found: StoreAnswers, *, at_app: bool) -> tuple[Identity | None, bool]:
        """Return the identity, and whether it comes from a cookie. A token in the header takes precedence. Raises _Ask.

        `at_app`: the request is for an app. An app's pages may send an Authorization header of the app's own
        (JupyterLab sends its token). It proves nothing to the hub, so the cookie is used.
        """
        if proof.brought.authorization is not None:
            identity = self._by_token(proof.token, proof.brought.authorization, found) if proof.token else None
            if identity is not None or not at_app:
                return identity, False
        return (self._by_cookie(proof, found), True) if proof.tickets else (None, False)

    def _by_cookie(self, proof: _Proof, found: StoreAnswers) -> Identity | None:
        """Return the valid session cookie's identity; of several, the newest, if all belong to one user. Raises _Ask.

        If valid cookies belong to different users, one of them was planted, and none is accepted.
        """
        by = self._by_origin if proof.label else self._by_ticket
        valid = [one for one in [by(ticket, found, proof.label) for ticket in proof.tickets] if one is not None]
        if len(valid) > 1 and len({identity.key for identity in valid}) == 1:
            return max(valid, key=_since)
        return valid[0] if len(valid) == 1 else None

    def _by_origin(self, known: str, found: StoreAnswers, label: str) -> Identity | None:
        """Identify by the cookie of a user's host: a token that is valid only there."""
        identity = self._by_token(known, b"", found)
        if identity is None or identity.token is None or identity.token.client != f"towpath-origin-{label}":
            return None
        return identity

    async def _identify_token(self, known: str, authorization: bytes) -> Identity | None:
        """Identify a token from the store. A token imported from JupyterHub is converted first."""
        secret = bearer(authorization)
        if secret is not None:
            await self._claim(secret)
        return await self._mirror.identify_token(known)

    def _by_token(self, known: str, authorization: bytes, found: StoreAnswers) -> Identity | None:
        identity = self._mirror.peek(known)
        if identity is None:
            asked = self._known(f"token {known}", found, lambda: self._identify_token(known, authorization))
            assert asked is None or isinstance(asked, Identity)
            identity = asked
        if identity is None or identity.token is None:  # a ticket is not a token
            return None
        self._mirror.note_token_use(known)
        return identity

    def _by_ticket(self, known: str, found: StoreAnswers, label: str) -> Identity | None:
        del label  # the hub's own host
        identity = self._mirror.peek(known)
        if identity is None:
            asked = self._known(f"ticket {known}", found, lambda: self._mirror.identify_session(known))
            assert asked is None or isinstance(asked, Identity)
            identity = asked
        if identity is None or identity.session is None:  # a token is not a ticket
            return None
        return identity

    @staticmethod
    def _known(key: str, found: StoreAnswers, ask: Callable[[], Awaitable[Answered]]) -> Answered:
        if key not in found:
            raise _Ask(key, ask)
        return found[key]

    def _proof(self, brought: Brought) -> _Proof:
        """Compute everything that depends only on a head."""
        secret = bearer(brought.authorization) if brought.authorization is not None else None
        label = self._hosts.label_in(_host_name(brought.host)) if self._hosts is not None else ""
        jar = self._hosts.jar if self._hosts is not None and label else self._jar
        tickets = jar.tickets(brought.cookies) if brought.cookies else ()
        return _Proof(
            brought,
            token=digest(secret) if secret is not None else "",
            tickets=tuple(map(digest, tickets)),
            ours=from_ourselves(
                origin=brought.origin,
                fetch_site=brought.fetch_site,
                own=own_origin(self._scheme, self._public.host(brought.host.decode("latin-1")).encode("latin-1")),
            ),
            host_is_ours=bool(label) or self._allowed_hosts is None or _host_name(brought.host) in self._allowed_hosts,
            label=label,
        )

    # --- the hub's own responses --------------------------------------------------------------------------------

    def _refuse(self, request: Request, refusal: Refusal) -> None:
        proof: _Proof | None = request.head.memo
        if request.head.websocket:
            # Only developers see it (RFC 6455 section 4.2.2: any HTTP response rejects the handshake).
            fields = [(b"content-type", b"text/plain; charset=utf-8")]
            request.respond(refusal.status, fields, str(refusal).encode())
            return
        brought = proof.brought if proof is not None else Brought(request.head.fields)
        if refusal.sign_in and brought.authorization is None:
            answer = self._answers.sign_in(request.target.decode("latin-1"), page=brought.wants_page)
            answer.headers.extend((b"set-cookie", value) for value in self._strays(request, proof))
        else:
            answer = self._answers.refuse(refusal.status, str(refusal), page=brought.wants_page)
        self._respond(request, brought, answer)

    def _respond(self, request: Request, brought: Brought, answer: Answer) -> None:
        """Respond in place of an app. A page of an allowed origin may read why its token was rejected."""
        if self._cors and brought.authorization is not None and request.target.startswith(self._prefix):
            answer.headers.extend(cors.response_fields(self._cors.origin_of(request.head.fields)))
        request.respond(*answer)

    def _strays(self, request: Request, proof: _Proof | None) -> list[bytes]:
        """Return Set-Cookie values that delete planted cookies (`gateway.auth.cookies`)."""
        if proof is None or len(proof.tickets) <= 1:
            return []
        path = request.target.partition(b"?")[0].decode("latin-1")
        host = _host_name(proof.brought.host).decode("latin-1")
        return [value.encode() for value in self._jar.without_strays(path, host)]

    def _refuse_upstream(self, request: Request, error: UpstreamError) -> None:
        self._refuse(request, Refusal(error.status, str(error)))

    async def _not_running(self, request: Request, identity: Identity, target: paths.UserPath, *, page: bool) -> None:
        where = request.target.decode("latin-1")
        answer = await self._answers.not_running(where, identity, target.user, target.segment, page=page)
        self._respond(request, Brought(request.head.fields), answer)


def _since(identity: Identity) -> float:
    """Return when the caller's session or token was created."""
    credential = identity.session or identity.token
    return credential.created if credential is not None else 0.0


def _host_name(host: bytes) -> bytes:
    """Return the Host header without its port, in lowercase (RFC 9110 section 7.2)."""
    host = host.lower()
    if host.startswith(b"["):
        return host[: host.find(b"]") + 1]
    return host.partition(b":")[0]
