"""Sign-in of a hub for several people (`[auth]`): providers prove a name, the configuration says who may enter.

Owns: the way from a proof to a user's record, at every sign-in. Refuses to know how a provider proves anything, and the
rules themselves (`gateway.auth.admission`).
One-time links are for the one-machine mode alone: here they are no way in, and scripts begin with `towpath token USER`.
"""

import time
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from gateway.auth.admission import judge
from gateway.auth.cookies import FLOW_NAME, CookieJar
from gateway.auth.header import HeaderProof
from gateway.auth.making import by_header, by_password
from gateway.auth.named import NameAlone
from gateway.auth.oidc.flow import Flows
from gateway.auth.oidc.provider import OidcProvider
from gateway.auth.proof import Proof, Proven
from gateway.auth.sessions import BrowserSessions
from gateway.tunnel.options import Network
from portal.auth import Arrival, Departure, Provider, RefusedError
from state.config import AuthConfig, ProviderConfig
from state.errors import ConflictError
from state.records import User
from state.store.all import Store

TRIES = 5
CALLBACK = "oauth_callback"


def proofs(config: AuthConfig, hub_url: str, store: Store, proxies: tuple[Network, ...]) -> tuple[Proof, ...]:
    """A provider for each [[auth.provider]]; `state.faults` has checked their kinds. `hub_url`: as browsers see it."""
    return tuple(_proof(provider, config, hub_url, store, proxies) for provider in config.provider)


def _proof(
    provider: ProviderConfig, config: AuthConfig, hub_url: str, store: Store, proxies: tuple[Network, ...]
) -> Proof:
    match provider.kind:
        case "oidc":
            return OidcProvider(provider, config.provider, callback(config, provider, hub_url))
        case "ldap" | "pam":
            return by_password(provider, config, store.tries)
        case "header":
            return by_header(provider, config, proxies=proxies, hub_url=hub_url)
        case _:
            return NameAlone(provider.name, tuple(dict.fromkeys((*config.allowed_users, *config.admins))))


def callback(config: AuthConfig, provider: ProviderConfig, hub_url: str) -> str:
    """The redirect URI of a provider: JupyterHub's, or one of its own."""
    alone = sum(other.kind == provider.kind for other in config.provider) == 1
    said = provider.oidc.plain_callback if provider.oidc is not None else None
    plain = alone if said is None else said
    return f"{hub_url}{CALLBACK}" if plain else f"{hub_url}{CALLBACK}/{provider.name}"


class SharedAuth(BrowserSessions):
    """What the portal needs of sign-in (`portal.auth.Auth`), for the people that the configuration names."""

    sign_in_links = False

    def __init__(
        self,
        store: Store,
        jar: CookieJar,
        config: AuthConfig,
        *,
        hub_url: str = "http://127.0.0.1:8000/hub/",
        proxies: tuple[Network, ...] = (),
    ) -> None:
        """`hub_url`: of the hub's pages, as browsers see it, with a slash at the end. `proxies`: the trusted ones."""
        super().__init__(store, jar, lifetime=config.session_lifetime)
        self._config = config
        self._of = {provider.name: provider for provider in config.provider}
        self._proofs = {proof.shown.name: proof for proof in proofs(config, hub_url, store, proxies)}
        path = "/" + hub_url.partition("://")[2].partition("/")[2]
        flow_jar = CookieJar(secure=hub_url.startswith("https:"), base_path=path, name=FLOW_NAME)
        self._flows = Flows(store, flow_jar)

    @property
    def providers(self) -> tuple[Provider, ...]:
        """The ways to sign in."""
        return tuple(proof.shown for proof in self._proofs.values())

    async def sign_in(self, provider: str, fields: Mapping[str, str], request: Any) -> User:
        """The user whom this form proves; made at the first sign-in, an admin where the configuration says so."""
        proof = self._proofs.get(provider)
        if proof is None:
            raise RefusedError("There is no such way to sign in.")
        return await self._admitted(self._of[provider], await proof.prove(fields, request))

    async def depart(self, provider: str, next_url: str, request: Any) -> Departure:
        """See `portal.auth.Auth.depart`."""
        proof = self._proofs.get(provider)
        if isinstance(proof, HeaderProof):
            user = await self._admitted(self._of[provider], await proof.prove({}, request))
            return Departure(url=next_url or proof.home, cookie=await self.open_session(user, request, way=provider))
        if not isinstance(proof, OidcProvider):
            raise RefusedError("There is no such way to sign in.")
        browser, cookie = self._flows.browser(request)
        url, state, flow = await proof.depart(browser, next_url)
        await self._flows.put(state, flow)
        return Departure(url=url, cookie=cookie)

    async def arrive(self, provider: str, answer: Mapping[str, str], request: Any) -> Arrival:
        """See `portal.auth.Auth.arrive`."""
        flow = await self._flows.take(answer.get("state", ""), request)
        proof = self._proofs.get(flow.provider)
        if not isinstance(proof, OidcProvider) or provider not in ("", flow.provider):
            raise RefusedError("This answer came to the wrong address.", hint="Begin again here.")
        try:
            _, proven = await proof.arrive(flow, answer)
            user = await self._admitted(proof.config, proven)
        except RefusedError as error:
            error.next = flow.next
            raise
        return Arrival(next=flow.next, cookie=await self.open_session(user, request))

    async def sign_in_with_link(self, secret: str) -> User | None:  # noqa: ARG002
        """No link lets anybody in."""
        return None

    async def _admitted(self, provider: ProviderConfig, proven: Proven) -> User:
        """The record of who was proven, made or changed by what was proven. Raises RefusedError."""
        for _ in range(TRIES):
            user = await self._store.users.get(proven.name)
            verdict = judge(self._config, provider, proven, user.groups if user is not None else ())
            if not verdict.enters:
                raise RefusedError(
                    f"You are signed in as {proven.shown or proven.name}, and {proven.name} may not enter this hub.",
                    hint="Sign in with another account, or ask the people who run this hub.",
                )
            if user is None:
                fresh = User(
                    name=proven.name, admin=bool(verdict.admin), groups=proven.groups or (), created=time.time()
                )
                await self._store.users.add(fresh)
                continue  # somebody else may have been quicker: what is there is looked at
            wanted = replace(
                user,
                admin=user.admin if verdict.admin is None else verdict.admin,
                groups=user.groups if proven.groups is None else proven.groups,
            )
            if wanted == user:
                return user
            try:
                return await self._store.users.save(wanted)
            except ConflictError:
                continue
        raise RefusedError(f"{proven.name} is being changed by others just now.", hint="Try again.")
