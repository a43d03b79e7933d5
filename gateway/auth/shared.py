"""Sign-in of a hub for several people (`[auth]`): providers prove a name, the configuration says who may enter.

Owns: who is let in, and the user's record at the first sign-in. Refuses to know how a provider proves anything.
One-time links are for the one-machine mode alone: here they are no way in, and scripts begin with `towpath token USER`.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from gateway.auth.cookies import CookieJar
from gateway.auth.named import NameAlone
from gateway.auth.pam import PamProof
from gateway.auth.proof import Proof
from gateway.auth.sessions import BrowserSessions
from gateway.auth.throttle import Limits, Throttled
from portal.auth import Provider, RefusedError
from state.config import AuthConfig, ProviderConfig
from state.errors import ConflictError
from state.records import User
from state.store.all import Store

TITLES: Final = {"pam": "Sign in with your account"}
"""What a way to sign in is called, where the site gives it no title."""


def proofs(config: AuthConfig, store: Store) -> tuple[Proof, ...]:
    """A provider for each [[auth.provider]]; `state.faults` has checked their kinds."""
    return tuple(_proof(provider, config, store) for provider in config.provider)


def _proof(provider: ProviderConfig, config: AuthConfig, store: Store) -> Proof:
    if provider.kind == "test":
        return NameAlone(provider.name, tuple(dict.fromkeys((*config.allowed_users, *config.admins))))
    shown = Provider(name=provider.name, title=provider.title or TITLES[provider.kind], password=True)
    return Throttled(PamProof(shown, provider.pam), store.tries, Limits(config.throttle))


class SharedAuth(BrowserSessions):
    """What the portal needs of sign-in (`portal.auth.Auth`), for the people that the configuration names."""

    sign_in_links = False

    def __init__(self, store: Store, jar: CookieJar, config: AuthConfig) -> None:
        super().__init__(store, jar, lifetime=config.session_lifetime)
        self._config = config
        self._proofs = {proof.shown.name: proof for proof in proofs(config, store)}

    @property
    def providers(self) -> tuple[Provider, ...]:
        """The ways to sign in."""
        return tuple(proof.shown for proof in self._proofs.values())

    async def sign_in(self, provider: str, fields: Mapping[str, str], request: Any) -> User:
        """The user whom this form proves; made at the first sign-in, an admin where the configuration says so."""
        proof = self._proofs.get(provider)
        if proof is None:
            raise RefusedError("There is no such way to sign in.")
        proven = await proof.prove(fields, request)
        config, name = self._config, proven.name
        if name not in config.allowed_users and name not in config.admins:
            raise RefusedError(f"{name} may not enter this hub. Ask the people who run it.")
        return await self._admitted(name, admin=proven.admin or name in config.admins)

    async def sign_in_with_link(self, secret: str) -> User | None:  # noqa: ARG002
        """No link lets anybody in."""
        return None

    async def _admitted(self, name: str, *, admin: bool) -> User:
        fresh = User(name=name, admin=admin, created=time.time())
        user = await self._store.users.get(name)
        if user is None:
            await self._store.users.add(fresh)  # somebody else may be quicker: theirs is as good
            user = await self._store.users.get(name)
        if user is not None and admin and not user.admin:
            try:
                user = await self._store.users.save(replace(user, admin=True))
            except ConflictError:
                user = await self._store.users.get(name)
        if user is None:
            raise RefusedError(f"{name} has just been removed from this hub. Try again.")
        return user
