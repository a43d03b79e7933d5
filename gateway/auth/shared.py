"""Sign-in of a hub for several people (`[auth]`): providers prove a name, the configuration says who may enter.

Owns: the way from a proof to a session, and what ends with it. Refuses to know how a provider proves anything, and the
rules (`gateway.auth.admission`).
One-time links are for the one-machine mode alone: here they are no way in, and scripts begin with `towpath token USER`.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from gateway.auth.addresses import away, back_at
from gateway.auth.admitting import Admitting
from gateway.auth.cookies import FLOW_NAME, CookieJar
from gateway.auth.header import HeaderProof
from gateway.auth.listed_admins import review_until_done
from gateway.auth.making import by_header, by_password, by_plugin
from gateway.auth.named import NameAlone
from gateway.auth.oidc.flow import Flows
from gateway.auth.oidc.logout import AGE_MAX
from gateway.auth.oidc.provider import OidcProvider
from gateway.auth.plugin import PluginProof
from gateway.auth.proof import Asked, Closable, Proof, Proven
from gateway.auth.sessions import BrowserSessions
from gateway.auth.vigil import Vigil
from gateway.tunnel.options import Network
from portal.site.sign_in import Arrival, Departure, Provider, RefusedError
from state.config.tables import AuthConfig, ProviderConfig
from state.errors import BadRecordError
from state.plugins import authenticators
from state.records.models import Session, Standing, User
from state.rights.identity import Identity
from state.store.all import Store

log = logging.getLogger("towpath.sign-in")

NO_WAY: Final = "There is no such way to sign in."
_RESTS_ON: Final = "rests_on"
"""Where a request keeps what its session will rest on, from the proof until the session is opened."""


def proofs(
    config: AuthConfig, hub_url: str, store: Store, proxies: tuple[Network, ...], *, jar: CookieJar
) -> tuple[Proof, ...]:
    """A provider for each [[auth.provider]], as checked. `hub_url`: as browsers see it. `jar`: see `making`."""
    return tuple(_proof(provider, config, hub_url, store, proxies, jar=jar) for provider in config.provider)


def _proof(
    provider: ProviderConfig,
    config: AuthConfig,
    hub_url: str,
    store: Store,
    proxies: tuple[Network, ...],
    *,
    jar: CookieJar,
) -> Proof:
    match provider.kind:
        case "oidc":
            return away(provider, config, hub_url)
        case "ldap" | "pam":
            return by_password(provider, config, store.tries, jar)
        case "header":
            return by_header(provider, config, proxies=proxies)
        case kind if kind not in authenticators.BUILT_IN:
            return by_plugin(provider, config, store.tries, jar, proxies=proxies, hub_url=hub_url)
        case _:
            return NameAlone(provider.name, tuple(dict.fromkeys((*config.allowed_users, *config.admins))))


class SharedAuth(BrowserSessions):
    """What the portal needs of sign-in (`portal.site.sign_in.Auth`), for the people that the configuration names."""

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
        """`hub_url`: of the hub's pages, as browsers see it, with a slash at the end. `proxies`: the trusted ones.

        `limit`: see BrowserSessions.
        """
        super().__init__(store, jar, lifetime=config.session_lifetime, limit=limit)
        self._config = config
        self._hub_url = hub_url
        self._of = {provider.name: provider for provider in config.provider}
        path = "/" + hub_url.partition("://")[2].partition("/")[2]
        own = CookieJar(secure=hub_url.startswith("https:"), base_path=path, name=FLOW_NAME, mark=jar.mark)
        self._proofs = {proof.shown.name: proof for proof in proofs(config, hub_url, store, proxies, jar=own)}
        self._flows = Flows(store, own)
        self._admitting = Admitting(store, config)
        self.vigil = Vigil(store, config, self._proofs, self._admitting, clock=clock)
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to check whether users still have the rights that they signed in with."""
        self.vigil.start()
        self._later(review_until_done(self._store, self._config))

    async def stop(self) -> None:
        """Ask no more, and close the connections to providers."""
        await self.vigil.close()
        for task in self._tasks:
            task.cancel()
        for proof in self._proofs.values():
            if isinstance(proof, Closable):
                await proof.close()

    @property
    def providers(self) -> tuple[Provider, ...]:
        """The ways to sign in."""
        return tuple(proof.shown for proof in self._proofs.values())

    async def sign_in(self, provider: str, fields: Mapping[str, str], request: Any) -> User:
        """The user whom this form proves; made at the first sign-in, an admin where the configuration says so."""
        proof = self._proofs.get(provider)
        if proof is None:
            raise RefusedError(NO_WAY)
        return await self._admitted(self._of[provider], await proof.prove(fields, request), request)

    async def depart(self, provider: str, next_url: str, request: Any, *, other: bool = False) -> Departure:
        """See `portal.site.sign_in.Auth.depart`."""
        known = self._proofs.get(provider)
        if isinstance(known, HeaderProof | PluginProof) and known.shown.form == "link":
            user = await self._admitted(self._of[provider], await known.prove({}, request), request)
            return Departure(
                url=next_url or f"{self._hub_url}home", cookie=await self.open_session(user, request, way=provider)
            )
        proof = self._away(provider)
        browser, cookie = self._flows.browser(request)
        url = await proof.depart(browser, next_url, other=other, sealing=await self._flows.sealing())
        return Departure(url=url, cookie=cookie)

    async def arrive(self, provider: str, answer: Mapping[str, str], request: Any) -> Arrival:
        """See `portal.site.sign_in.Auth.arrive`."""
        state = answer.get("state", "")
        flow = await self._flows.of(state, request)
        # Providers that do not name themselves are told apart by this alone (RFC 9700 section 4.4.2, mix-up).
        if flow.redirect_uri != back_at(self._hub_url, provider):
            raise RefusedError("This answer came to the wrong address.", hint="Begin again here.")
        proof = self._away(flow.provider)
        try:
            told, proven = await proof.arrive(flow, answer)
            await self._flows.end(state)
            sealed, asks = proof.kept(told)
            user = await self._admitted(proof.config, proven, request, sealed=sealed, asks=asks, sid=told.sid)
        except RefusedError as error:
            error.next = flow.next
            raise
        return Arrival(next=flow.next, cookie=await self.open_session(user, request, way=flow.provider))

    async def farewell(self, request: Any) -> str:
        """See `portal.site.sign_in.Auth.farewell`."""
        standing = await self._standing(request)
        proof = self._proofs.get(standing.provider) if standing is not None else None
        if isinstance(proof, HeaderProof):
            return proof.sign_out_url
        if standing is None or not isinstance(proof, OidcProvider):
            return ""
        return await proof.goodbye(standing)

    async def close_session(self, request: Any) -> str:
        """End the request's session everywhere; the Set-Cookie value that takes the cookie away."""
        standing = await self._standing(request)
        cookie = await super().close_session(request)
        if standing is not None and not self.vigil.lasts(standing):
            await self._store.standings.drop(standing.user, standing.session)
            proof = self._proofs.get(standing.provider)
            if isinstance(proof, Asked):
                self._later(proof.forget(standing))
        return cookie

    async def ended_there(self, provider: str, logout_token: str) -> None:
        """See `portal.site.sign_in.Auth.ended_there`. A token that came before is refused."""
        ended = await self._away(provider).ended(logout_token)
        store = self._store
        if not await store.standings.first(f"{provider} {ended.jti}", lifetime=2.0 * AGE_MAX):
            raise RefusedError("That logout token was used before.")
        if ended.sid:
            found = await store.standings.session_of(provider, ended.sid)
            user = None if found is None else found[0]
        else:
            user = await store.standings.user_of(provider, ended.subject)
        for standing in [] if user is None else await store.standings.of_user(user):
            same = standing.sid == ended.sid if ended.sid else standing.subject == ended.subject
            if same and standing.provider == provider:
                why = f"{provider} says that they have signed out there."
                await self.vigil.over(standing, why)

    async def sign_in_with_link(self, secret: str) -> User | None:  # noqa: ARG002
        """No link lets anybody in."""
        return None

    async def _admitted(
        self,
        provider: ProviderConfig,
        proven: Proven,
        request: Any,
        *,
        sealed: str = "",
        asks: bool = False,
        sid: str = "",
    ) -> User:
        """The record of who was proven. Raises RefusedError. What the session will rest on waits in the request."""
        user = await self._admitting.admit(provider, proven)
        now = time.time()
        request.scope.setdefault("state", {})[_RESTS_ON] = Standing(
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

    def _about_to_open(self, session: Session, request: Any) -> Sequence[Any]:
        """It is watched over before it is there: a crash between the two leaves nothing that nobody looks at."""
        standing: Standing | None = request.scope.get("state", {}).pop(_RESTS_ON, None)
        if standing is None or standing.user != session.user:
            return ()
        return self.vigil.putting(replace(standing, session=session.id))

    async def _standing(self, request: Any) -> Standing | None:
        """What the request's session rests on."""
        identity: Identity | None = request.scope.get("state", {}).get("identity")
        if identity is None or identity.session is None:
            return None
        try:
            return await self._store.standings.get(identity.user.name, identity.session.id)
        except BadRecordError:
            return None  # signing out works without it, here

    def _away(self, provider: str) -> OidcProvider:
        """Raises RefusedError."""
        proof = self._proofs.get(provider)
        if not isinstance(proof, OidcProvider):
            raise RefusedError(NO_WAY)
        return proof

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
