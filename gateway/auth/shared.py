"""Sign-in of a hub with several users (`[auth]`): providers prove names, the configuration says who may sign in.

Owns the steps from a proof to a session, and what ends with the session. Does not know how a provider proves a name, or
the rules (`gateway.auth.admission`).
One-time links exist only in one-machine mode. Scripts use `towpath token USER` instead.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from gateway.auth.addresses import callback_url
from gateway.auth.assembly import open_providers
from gateway.auth.cookies import FLOW_NAME, CookieJar
from gateway.auth.listed_admins import review_until_done
from gateway.auth.portal_request import PortalRequest
from gateway.auth.proof import Closable, Proven, RecheckableProof, RedirectingProof, SignOutProof
from gateway.auth.session_review import SessionReview
from gateway.auth.sessions import BrowserSessions
from gateway.auth.user_admission import UserAdmission
from gateway.tunnel.options import Network
from portal.site.sign_in import Arrival, Departure, Provider, RefusedError
from state.config.tables import AuthConfig, ProviderConfig
from state.errors import BadRecordError
from state.records.models import Session, Standing, User
from state.redis.connection import Command
from state.rights.identity import Identity
from state.store.all import Store

if TYPE_CHECKING:
    from gateway.auth.oidc.flow import Flows

log = logging.getLogger("towpath.sign-in")

UNKNOWN_PROVIDER: Final = "This way to sign in does not exist."
_STANDING: Final = "standing"
"""The key in a request's state with the proof, from the sign-in until the session is opened."""


class SharedAuth(BrowserSessions):
    """Implements `portal.site.sign_in.Auth` with the providers of the configuration."""

    sign_in_links = False

    def __init__(
        self,
        store: Store,
        jar: CookieJar,
        config: AuthConfig,
        *,
        hub_url: str = "http://127.0.0.1:8000/hub/",
        clock: Callable[[], float] = time.time,
        proxies: tuple[Network, ...] = (),
        limit: int = 0,
    ) -> None:
        """`hub_url`: the public URL of the hub's pages, with a slash at the end. `proxies`: the trusted proxies.

        `limit`: see BrowserSessions.
        """
        super().__init__(store, jar, lifetime=config.session_lifetime, limit=limit)
        self._config = config
        self._hub_url = hub_url
        self._of = {provider.name: provider for provider in config.provider}
        path = "/" + hub_url.partition("://")[2].partition("/")[2]
        own = CookieJar(secure=hub_url.startswith("https:"), base_path=path, name=FLOW_NAME, mark=jar.mark)
        self._proofs = open_providers(config, hub_url, store.tries, proxies, jar=own)
        self._flow_cookies = own
        self._admission = UserAdmission(store, config)
        self.session_review = SessionReview(store, config, self._proofs, self._admission, clock=clock)
        self._tasks: set[asyncio.Task[None]] = set()

    @cached_property
    def _flows(self) -> "Flows":
        from gateway.auth.oidc.flow import Flows  # noqa: PLC0415 - for providers with pages of their own

        return Flows(self._store, self._flow_cookies)

    def start(self) -> None:
        """Start checking whether users may still use the hub."""
        self.session_review.start()
        self._later(review_until_done(self._store, self._config))

    async def stop(self) -> None:
        """Stop the checks and close the connections to providers."""
        await self.session_review.close()
        for task in self._tasks:
            task.cancel()
        for proof in self._proofs.values():
            if isinstance(proof, Closable):
                await proof.close()

    @property
    def providers(self) -> tuple[Provider, ...]:
        """The ways to sign in."""
        return tuple(proof.shown for proof in self._proofs.values())

    async def sign_in(self, provider: str, fields: Mapping[str, str], request: PortalRequest) -> User:
        """Return the user who sent this form. The user is created at the first sign-in."""
        proof = self._proofs.get(provider)
        if proof is None:
            raise RefusedError(UNKNOWN_PROVIDER)
        return await self._admitted(self._of[provider], await proof.prove(fields, request), request)

    async def depart(self, provider: str, next_url: str, request: PortalRequest, *, other: bool = False) -> Departure:
        """See `portal.site.sign_in.Auth.depart`."""
        known = self._proofs.get(provider)
        if known is not None and known.shown.form == "link" and not isinstance(known, RedirectingProof):
            user = await self._admitted(self._of[provider], await known.prove({}, request), request)
            return Departure(
                url=next_url or f"{self._hub_url}home", cookie=await self.open_session(user, request, way=provider)
            )
        proof = self._redirecting(provider)
        browser, cookie = self._flows.browser(request)
        url = await proof.depart(browser, next_url, other=other, sealing=await self._flows.sealing())
        return Departure(url=url, cookie=cookie)

    async def arrive(self, provider: str, answer: Mapping[str, str], request: PortalRequest) -> Arrival:
        """See `portal.site.sign_in.Auth.arrive`."""
        state = answer.get("state", "")
        flow = await self._flows.of(state, request)
        # Only the redirect URI distinguishes providers that do not send `iss` (RFC 9700 section 4.4.2, mix-up).
        if flow.redirect_uri != callback_url(self._hub_url, provider):
            raise RefusedError("The provider's response was sent to the wrong address.", hint="Start again here.")
        proof = self._redirecting(flow.provider)
        try:
            account, proven = await proof.arrive(flow, answer)
            await self._flows.end(state)
            sealed, asks = proof.kept(account)
            config = self._of[flow.provider]
            user = await self._admitted(config, proven, request, sealed=sealed, asks=asks, sid=account.sid)
        except RefusedError as error:
            error.next = flow.next
            raise
        return Arrival(next=flow.next, cookie=await self.open_session(user, request, way=flow.provider))

    async def farewell(self, request: PortalRequest) -> str:
        """See `portal.site.sign_in.Auth.farewell`."""
        standing = await self._standing(request)
        proof: object = self._proofs.get(standing.provider) if standing is not None else None
        if standing is None or not isinstance(proof, SignOutProof):
            return ""
        return await proof.goodbye(standing)

    async def close_session(self, request: PortalRequest) -> str:
        """End the request's session on all workers. Returns the Set-Cookie value that deletes the cookie."""
        standing = await self._standing(request)
        cookie = await super().close_session(request)
        if standing is not None and not self.session_review.lasts(standing):
            await self._store.standings.drop(standing.user, standing.session)
            proof = self._proofs.get(standing.provider)
            if isinstance(proof, RecheckableProof):
                self._later(proof.forget(standing))
        return cookie

    async def ended_there(self, provider: str, logout_token: str) -> None:
        """See `portal.site.sign_in.Auth.ended_there`. A token that was used before is rejected."""
        from gateway.auth.oidc.logout import AGE_MAX  # noqa: PLC0415 - for providers with pages of their own

        ended = await self._redirecting(provider).ended(logout_token)
        store = self._store
        if not await store.standings.first(f"{provider} {ended.jti}", lifetime=2.0 * AGE_MAX):
            raise RefusedError("This logout token has been used before.")
        if ended.sid:
            found = await store.standings.session_of(provider, ended.sid)
            user = None if found is None else found[0]
        else:
            user = await store.standings.user_of(provider, ended.subject)
        for standing in [] if user is None else await store.standings.of_user(user):
            same = standing.sid == ended.sid if ended.sid else standing.subject == ended.subject
            if same and standing.provider == provider:
                why = f"The user signed out at {provider}."
                await self.session_review.over(standing, why)

    async def sign_in_with_link(self, secret: str) -> User | None:  # noqa: ARG002
        """Return None: links are not valid in this mode."""
        return None

    async def _admitted(
        self,
        provider: ProviderConfig,
        proven: Proven,
        request: PortalRequest,
        *,
        sealed: str = "",
        asks: bool = False,
        sid: str = "",
    ) -> User:
        """Return the user's record, and store the proof in the request's state. Raises RefusedError."""
        user = await self._admission.admit(provider, proven)
        now = time.time()
        request.scope.setdefault("state", {})[_STANDING] = Standing(
            user=user.name,
            session="",
            provider=provider.name,
            subject=proven.subject,
            sid=sid,
            shown=proven.shown,
            allowed=proven.allowed,
            admin=proven.admin,
            sealed=sealed or proven.kept,
            asks=asks or proven.asks,
            began=now,
            checked=now,
        )
        return user

    def _about_to_open(self, session: Session, request: PortalRequest) -> Sequence[Command]:
        """Schedule the session's review before the session exists, so that a crash leaves no session without review."""
        standing: Standing | None = request.scope.get("state", {}).pop(_STANDING, None)
        if standing is None or standing.user != session.user:
            return ()
        return self.session_review.putting(replace(standing, session=session.id))

    async def _standing(self, request: PortalRequest) -> Standing | None:
        """Return the proof behind the request's session."""
        identity: Identity | None = request.scope.get("state", {}).get("identity")
        if identity is None or identity.session is None:
            return None
        try:
            return await self._store.standings.get(identity.user.name, identity.session.id)
        except BadRecordError:
            return None  # signing out here works without it

    def _redirecting(self, provider: str) -> RedirectingProof:
        """Return the provider with this name, which has pages of its own. Raises RefusedError."""
        proof = self._proofs.get(provider)
        if not isinstance(proof, RedirectingProof):
            raise RefusedError(UNKNOWN_PROVIDER)
        return proof

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
