"""Every request and every WebSocket passes the door: it is authorized before it is forwarded.

Owns the order of the checks. Does not know how bytes arrive (`gateway.wire`) or reach an app (`gateway.tunnel`), what a
page looks like (`portal`), or where sessions are stored (`state`).

    path -> who sent it? -> a page of the hub? -> pages and API: the portal
                                               -> /user/...: may they? -> does the server run? -> the tunnel

The checks are one plain function (`_decide`). See `gateway.door.store_lookups` for what this worker does not know yet.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import lru_cache
from typing import Final

from gateway.auth.credentials import Brought
from gateway.door import paths
from gateway.door.callers import Callers
from gateway.door.connections import Connections
from gateway.door.contracts import Answers, Portal, Refusal
from gateway.door.edge_check import EdgeCheck
from gateway.door.hosts import Hosts
from gateway.door.proof import Proof, ProofReader
from gateway.door.reverse_dials import ReverseDials
from gateway.door.server_access import AWAY, ServerAccess, is_writing
from gateway.door.services import ServiceRoutes, unauthenticated
from gateway.door.store_lookups import LookupNeeded, Lookups, looked_up
from gateway.oauth.hub_apps import NOTHING, AppCredentials, HubApps
from gateway.tunnel import Tunnel, UpstreamError, cors
from gateway.wire import Request
from portal.audit.request_log import LOGGED, log_refusal
from portal.refusals.pages import Answer
from state.errors import BadRecordError, StateUnavailableError
from state.mirror.mirror import Mirror
from state.records.models import Route
from state.rights.identity import Identity

log = logging.getLogger("towpath.door")

_REDIRECTED: Final = frozenset({b"GET", b"HEAD"})
_PATHS: Final = 4096
_PATH_MAX: Final = 256
_NOT_OURS: Final = "This request was not sent by one of the hub's own pages."


class App:
    """The handler of one worker's requests."""

    def __init__(
        self,
        *,
        mirror: Mirror,
        tunnel: Tunnel,
        portal: Portal,
        edge_check: EdgeCheck,
        reverse_dials: ReverseDials,
        answers: Answers,
        proofs: ProofReader,
        callers: Callers,
        access: ServerAccess,
        connections: Connections,
        hub_apps: HubApps,
        services: ServiceRoutes,
        address: Callable[[Request], str],
        hosts: Hosts | None,
        base_path: str,
        unasked: Sequence[str],
        programs: Sequence[str],
        cors_origins: Iterable[str] = (),
    ) -> None:
        """Nothing is opened yet.

        `address`: returns a request's client address. `unasked`: the paths under which requests have a proof of their
        own, which the portal checks. No cookie signs in there, so the origin of the request does not matter.
        `programs`: the same, for programs alone and not for pages.
        `cors_origins`: of all profiles. A preflight request is answered for all alike, so that it does not show who
        runs what.
        """
        self._mirror = mirror
        self._tunnel = tunnel
        self._portal = portal
        self._edge_check = edge_check
        self._reverse_dials = reverse_dials
        self._answers = answers
        self._proofs = proofs
        self._callers = callers
        self._access = access
        self._connections = connections
        self._hub_apps = hub_apps
        self._services = services
        self._address = address
        self._hosts = hosts
        self._unasked = tuple(path.encode() for path in unasked)
        self._programs = tuple(path.encode() for path in programs)
        self._cors = cors.AllowedOrigins(cors_origins)
        self._tasks: set[asyncio.Task[None]] = set()
        self._prefix = f"{base_path}user/".encode()
        self._open_to_all = f"{base_path}hub/api/oauth2/token".encode()
        self._read_short = lru_cache(_PATHS)(self._read)

    def _read(self, path: bytes) -> paths.UserPath | None:
        paths.check(path)
        return paths.user_path(path, self._prefix)

    def handle(self, request: Request) -> None:
        """Answer a request or WebSocket. See `gateway.wire.request.Handler`."""
        if request.target.startswith(self._edge_check.prefix):
            self._edge_check.handle(request)  # for any Host: the check reports it
            return
        if request.target == self._reverse_dials.path:
            self._reverse_dials.handle(request)
            return
        try:
            self._decide(request, {})
        except Refusal as refusal:
            self._refuse(request, refusal)
        except LookupNeeded as question:
            self._spawn(request, self._find_out(request, question))

    async def _find_out(self, request: Request, question: LookupNeeded) -> None:
        """Ask the store what the checks need to know, and run them again."""
        lookups: Lookups = {}
        while True:
            try:
                lookups[question.key] = await question.ask()
                if request.open:
                    self._decide(request, lookups)
            except StateUnavailableError:
                self._refuse(request, Refusal(503, AWAY))
            except BadRecordError as error:
                self._refuse(request, Refusal(500, str(error)))
            except Refusal as refusal:
                self._refuse(request, refusal)
            except LookupNeeded as next_question:
                question = next_question
                continue
            return

    def _spawn(self, request: Request, work: Coroutine[None, None, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception:
                log.exception("Request handling failed")
                self._refuse(request, Refusal(500, "The hub made a mistake."))

        task = asyncio.get_running_loop().create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- the checks ----------------------------------------------------------------------------------------

    def _decide(self, request: Request, lookups: Lookups) -> None:
        """Run all checks, in order, and pass the request on. Raises Refusal and LookupNeeded."""
        path = request.target.partition(b"?")[0]
        try:
            target = self._read_short(path) if len(path) < _PATH_MAX else self._read(path)
        except paths.BadPathError as error:
            raise Refusal(400, str(error)) from error
        head = request.head
        proof = self._proofs.read(head)
        if not proof.host_is_ours:
            raise Refusal(421, "This hub does not serve that host name. Use the address that it printed.")
        if self._hosts is not None and (location := self._hosts.elsewhere(proof.label, path, target)):
            self._send_there(request, location)
            return
        if target is not None and request.method == b"OPTIONS" and (fields := self._cors.preflight(head.fields)):
            request.respond(204, fields)
            return
        if target is None and path.startswith(self._services.prefix):
            self._serve(request, proof, path, lookups)
            return
        identity, by_cookie = self._callers.who(proof, lookups, at_app=target is not None)
        from_elsewhere = is_writing(request) and not proof.ours and (by_cookie or proof.brought.authorization is None)
        if from_elsewhere and not self._proves_itself(path, proof):
            raise Refusal(403, _NOT_OURS)
        if target is None:
            if head.websocket:
                self._connect(request, proof, identity, path, lookups)
                return
            # A request of an app is not activity of its owner.
            if identity is not None and identity.service is None and not (identity.token and identity.token.of_app):
                self._mirror.note_user(identity.name)
            self._portal.handle(request, identity)
            return
        self._to_app(request, proof, identity, target, lookups, by_cookie=by_cookie)

    def _connect(
        self, request: Request, proof: Proof, identity: Identity | None, path: bytes, lookups: Lookups
    ) -> None:
        """Pass a WebSocket outside of servers' paths on to SSH in a job. Raises Refusal and LookupNeeded."""
        if not path.startswith(self._connections.prefix):
            raise Refusal(404, "There is no WebSocket here.")
        route = self._connections.authorize(request, identity, path, lookups)
        assert identity is not None  # or it would be refused
        caller = proof.caller_of(identity, by_cookie=False, credentials=NOTHING)
        self._tunnel.websocket(request, route, caller=caller, refuse=self._refuse_upstream)

    def _to_app(
        self,
        request: Request,
        proof: Proof,
        identity: Identity | None,
        target: paths.UserPath,
        lookups: Lookups,
        *,
        by_cookie: bool,
    ) -> None:
        """Pass a request on to a user's server. Raises Refusal and LookupNeeded."""
        head = request.head
        if identity is None and proof.label and proof.brought.wants_page and request.method in _REDIRECTED:
            self._lead_in(request, proof)
            return
        if identity is None:
            raise Refusal(403, "Sign in, or send a valid token.", sign_in=not proof.label)
        name, route = self._access.authorize(request, identity, target, lookups)
        if not target.complete or (name and not target.segment_complete):
            path, mark, query = request.target.partition(b"?")
            location = paths.proper(path, self._prefix, target.user, name) + mark + query
            if request.method in _REDIRECTED and not head.websocket:
                request.respond(302, [(b"location", location)])
                return
            request.target = location  # not every client repeats a body, or a WebSocket, at another address
        if route is not None:
            carry = self._tunnel.websocket if head.websocket else self._tunnel.http
            credentials = (
                self._app_credentials(proof, identity, route, lookups, by_cookie=by_cookie)
                if route.hub_app
                else NOTHING
            )
            caller = proof.caller_of(identity, by_cookie=by_cookie, credentials=credentials)
            carry(request, route, caller=caller, refuse=self._refuse_upstream)
        else:
            self._elsewhere(request, identity, target, page=proof.brought.wants_page)

    def _proves_itself(self, path: bytes, proof: Proof) -> bool:
        """Return whether a client proves itself by what it sends: OAuth's, a provider, or a program that signs in.

        Such a program is no page: it says nothing of an origin.
        """
        if path == self._open_to_all or path.startswith(self._unasked):
            return True
        a_page = proof.brought.origin is not None or proof.brought.fetch_site is not None
        return path.startswith(self._programs) and not a_page

    def _send_there(self, request: Request, origin: str) -> None:
        """Redirect to the host that answers this path. Raises Refusal for what must not be repeated elsewhere."""
        if request.head.websocket or request.method not in _REDIRECTED:
            raise Refusal(421, f"This host does not serve that path. Use {origin}.")
        request.respond(302, [(b"location", origin.encode() + request.target), (b"cache-control", b"no-store")])

    def _lead_in(self, request: Request, proof: Proof) -> None:
        """Send a browser that is new at the host of a user's servers to the hub, which signs it in there."""
        assert self._hosts is not None  # a label is there only with hosts
        where, cookie = self._hosts.lead_in(request.target, proof.brought.cookies)
        fields = [(b"location", where), (b"set-cookie", cookie), (b"cache-control", b"no-store")]
        request.respond(302, [*fields, (b"referrer-policy", b"no-referrer")])

    def _serve(self, request: Request, proof: Proof, path: bytes, lookups: Lookups) -> None:
        """Pass a request on to a service, which checks access itself. Raises Refusal and LookupNeeded.

        A request that a page of another site has sent with a browser's cookies is refused.
        """
        brought = proof.brought
        says = brought.origin is not None or brought.fetch_site is not None
        if is_writing(request) and says and not proof.ours and brought.cookies and brought.authorization is None:
            raise Refusal(403, _NOT_OURS)
        route = self._services.at(path)
        if route is None:
            raise Refusal(404, "The service does not exist.")
        if len(path) < len(route.prefix):
            _, mark, query = request.target.partition(b"?")
            request.respond(302, [(b"location", route.prefix.encode() + mark + query)])
            return
        session = self._callers.by_cookie(proof, lookups)
        if session is None:
            caller = unauthenticated(self._address(request))
        else:
            credentials = self._hub_apps.credentials(session, route, b"") or NOTHING
            caller = proof.caller_of(session, by_cookie=True, credentials=credentials)
        carry = self._tunnel.websocket if request.head.websocket else self._tunnel.http
        carry(request, route, caller=caller, refuse=self._refuse_upstream)

    def _app_credentials(
        self, proof: Proof, identity: Identity, route: Route, lookups: Lookups, *, by_cookie: bool
    ) -> AppCredentials:
        """Return the caller's credentials for an app that asks the hub who they are. Raises LookupNeeded."""
        brought = b"" if by_cookie else proof.brought.authorization or b""
        credentials = self._hub_apps.credentials(identity, route, brought)
        if credentials is None:
            looked_up(f"told {route.prefix}", lookups, lambda: self._hub_apps.prepare(identity, route, brought))
            credentials = self._hub_apps.credentials(identity, route, brought)
        return credentials or NOTHING

    def _elsewhere(self, request: Request, identity: Identity, target: paths.UserPath, *, page: bool) -> None:
        """Answer where a server may be used, but does not run. Raises Refusal."""
        if request.head.websocket:
            raise Refusal(424, "This server is not running.")
        self._spawn(request, self._not_running(request, identity, target, page=page))

    # --- responses of our own --------------------------------------------------------------------------------

    def _refuse(self, request: Request, refusal: Refusal) -> None:
        if refusal.status in LOGGED:
            log_refusal(
                status=refusal.status,
                method="WebSocket" if request.head.websocket else request.method.decode("latin-1"),
                path=request.target.decode("latin-1"),
                user=refusal.user,
                address=self._address(request),
                why=str(refusal),
            )
        proof: Proof | None = request.head.memo
        if request.head.websocket:
            # Browsers show it only to developers (RFC 6455 section 4.2.2: any HTTP response refuses).
            fields = [(b"content-type", b"text/plain; charset=utf-8")]
            request.respond(refusal.status, fields, str(refusal).encode())
            return
        brought = proof.brought if proof is not None else Brought(request.head.fields)
        if refusal.sign_in and brought.authorization is None:
            answer = self._answers.sign_in(request.target.decode("latin-1"), page=brought.wants_page)
            if proof is not None:
                path = request.target.partition(b"?")[0].decode("latin-1")
                answer.headers.extend((b"set-cookie", value) for value in self._proofs.stray_cookies(path, proof))
        else:
            answer = self._answers.refuse(refusal.status, str(refusal), page=brought.wants_page)
        self._respond(request, brought, answer)

    def _respond(self, request: Request, brought: Brought, answer: Answer) -> None:
        """Answer in place of an app. A page of an allowed origin may read why its token was refused."""
        if self._cors and brought.authorization is not None and request.target.startswith(self._prefix):
            answer.headers.extend(cors.response_fields(self._cors.origin_of(request.head.fields)))
        request.respond(*answer)

    def _refuse_upstream(self, request: Request, error: UpstreamError) -> None:
        """Answer in place of an app that gave no answer. Browsers get a page that names the server and its job."""
        proof: Proof | None = request.head.memo
        page = proof is not None and proof.brought.wants_page and not request.head.websocket
        target = self._read(request.target.partition(b"?")[0]) if page and error.silent else None
        route = None if target is None else self._mirror.lookup(target.user, target.segment)
        if proof is None or proof.identity is None or route is None:
            self._refuse(request, Refusal(error.status, str(error)))
        else:
            self._spawn(request, self._no_answer(request, proof, route, error))

    async def _no_answer(self, request: Request, proof: Proof, route: Route, error: UpstreamError) -> None:
        assert proof.identity is not None  # who is not known reaches no app of a user
        where, itself = request.target.decode("latin-1"), proof.identity.is_user(route.user)
        answer = await self._answers.no_answer(where, route.user, route.name, error.status, str(error), itself=itself)
        self._respond(request, proof.brought, answer)

    async def _not_running(self, request: Request, identity: Identity, target: paths.UserPath, *, page: bool) -> None:
        where = request.target.decode("latin-1")
        answer = await self._answers.not_running(where, identity, target.user, target.segment, page=page)
        self._respond(request, Brought(request.head.fields), answer)
