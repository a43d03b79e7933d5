"""Whether those who are in still may be: every session's provider is asked again, and the rules with it.

Owns: when each is asked, and what ends when the answer is no. Refuses to know how a provider is asked
(`gateway.auth.proof.Asked`) and the rules (`gateway.auth.admission`).

    due → is the session open, or are there tokens? → the provider's word → the rules → the record follows, or all ends

Every worker looks; the store hands each session to one of them. Only positive evidence ends anything: a provider that
does not answer is asked again later.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from gateway.auth.admitting import Admitting
from gateway.auth.proof import Asked, GoneError, Proof, Proven, UnsureError, as_before
from portal.site.sign_in import RefusedError
from state.config.tables import AuthConfig, LdapConfig, OidcConfig, PamConfig, ProviderConfig
from state.errors import StateUnavailableError
from state.plugins import authenticators
from state.records.audit import Act, Entry
from state.records.models import Standing
from state.store.all import Store

log = logging.getLogger("towpath.sign-in")

TICK_SECONDS: Final = 1.0
HOLD_SECONDS: Final = 120.0
"""How long one worker has a session to itself: longer than any provider may take."""
BATCH: Final = 64
AT_ONCE: Final = 8
USUAL_SECONDS: Final = 300.0
RULES_SECONDS: Final = 3600.0
"""How often the rules are looked at where the provider is not to be asked."""
SOON_SECONDS: Final = 15.0
LASTING: Final = ("github", "google")
"""The presets that give what is good until it is taken back; others do where they are asked for `offline_access`."""
NO_PROVIDER: Final = "Its provider is not configured any more."


class Vigil:
    """For one worker."""

    def __init__(
        self,
        store: Store,
        config: AuthConfig,
        proofs: Mapping[str, Proof],
        admitting: Admitting,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._of = {provider.name: provider for provider in config.provider}
        self._lifetime = config.session_lifetime
        self._proofs = proofs
        self._admitting = admitting
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look, in the background."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def put(self, standing: Standing) -> None:
        """Watch over a session."""
        await self._store.standings.put(standing, due=self._due(standing), lifetime=self._lifetime)

    def putting(self, standing: Standing) -> Sequence[Any]:
        """The same for a session that is about to be opened: what the store writes before it."""
        return self._store.standings.putting(standing, due=self._due(standing), lifetime=self._lifetime)

    async def look(self) -> int:
        """Ask about all that is due; how many that were. Raises StateUnavailableError."""
        due = await self._store.standings.claim(self._clock(), hold=HOLD_SECONDS, most=BATCH)
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(user: str, session: str) -> None:
            async with turns:
                try:
                    await self._check(user, session)
                except StateUnavailableError:
                    raise
                except Exception:
                    log.exception("A session could not be checked; it is checked again later. user=%s", user)

        await asyncio.gather(*(one(user, session) for user, session in due))
        return len(due)

    async def _run(self) -> None:
        while True:
            try:
                found = await self.look()
            except StateUnavailableError:
                found = 0
            except Exception:
                log.exception("The look at who may stay went wrong")
                found = 0
            if found < BATCH:
                await asyncio.sleep(TICK_SECONDS)

    async def _check(self, user: str, session: str) -> None:
        standing = await self._store.standings.get(user, session)
        if standing is None or not (await self._store.sessions.holds(user, session) or await self._outlives(standing)):
            await self._store.standings.drop(user, session)
            if standing is not None:
                await self._forget(standing)
            return
        provider = self._of.get(standing.provider)
        proof = self._proofs.get(standing.provider)
        if provider is None or proof is None:
            await self._end(standing, NO_PROVIDER, tokens=False)
            return
        try:
            proven, sealed = await self._ask(provider, proof, standing)
            if proven.name != user:
                raise GoneError(f"The name there is {proven.name} now.")
        except UnsureError:
            again = min(self._period(provider), SOON_SECONDS * 2 ** min(standing.failures, 10))
            failed = replace(standing, failures=standing.failures + 1)
            await self._store.standings.put(failed, due=self._clock() + again, lifetime=self._lifetime)
            return
        except GoneError as error:
            await self._end(standing, str(error), tokens=provider.end_tokens)
            return
        try:
            await self._admitting.admit(provider, proven)
        except RefusedError as error:
            await self._end(standing, str(error), tokens=True)
            return
        await self.put(
            replace(
                standing,
                sealed=sealed,
                shown=proven.shown,
                allowed=proven.allowed,
                admin=proven.admin,
                checked=self._clock(),
                failures=0,
            )
        )

    async def _ask(self, provider: ProviderConfig, proof: Proof, standing: Standing) -> tuple[Proven, str]:
        """What holds of them now. Raises GoneError, UnsureError."""
        oidc = provider.oidc
        if isinstance(proof, Asked) and standing.asks and _refresh(provider):
            return await proof.again(standing)
        if (
            oidc is not None
            and oidc.refresh
            and oidc.max_session_age
            and self._clock() - standing.began >= oidc.max_session_age
        ):
            raise GoneError("It was long ago, and there is nothing to ask again with.")
        return as_before(standing), standing.sealed

    def lasts(self, standing: Standing) -> bool:
        """Whether the provider can be asked about somebody who has no session any more, here or there."""
        provider = self._of.get(standing.provider)
        return provider is not None and standing.asks and _refresh(provider) > 0 and _lasting(provider)

    async def _outlives(self, standing: Standing) -> bool:
        """Whether it is asked about though its session is over, for the sake of the person's tokens.

        Of several the first by its id is: whoever looks at another at the same moment knows that without being told.
        """
        if not self.lasts(standing):
            return False
        everything = await self._store.standings.of_user(standing.user)
        if any(one.provider == standing.provider and one.session < standing.session for one in everything):
            return False
        return await self._store.tokens.count(standing.user) > 0

    async def over(self, standing: Standing, why: str) -> None:
        """End a session, and say why in the log and the audit. Raises StateUnavailableError."""
        user, session = standing.user, standing.session
        log.info("The session %s of %s ends: %s", session, user, why)
        if not self.lasts(standing):
            await self._store.standings.drop(user, session)
        if await self._store.sessions.end(user, session):
            entry = Entry(time=time.time(), act=Act.SIGN_OUT, by=f"session {session}", user=user, why=why)
            await self._store.audit.note(entry)

    async def _end(self, standing: Standing, why: str, *, tokens: bool) -> None:
        """The session is over. The person's others are asked about at once; after the last, their tokens end too."""
        await self.over(standing, why)
        store = self._store
        await store.standings.drop(standing.user, standing.session)
        left = await store.standings.hasten(standing.user, self._clock())
        if not left and tokens:
            await store.tokens.revoke_all(standing.user)
        await store.feed.revoke(user=standing.user)

    async def _forget(self, standing: Standing) -> None:
        proof = self._proofs.get(standing.provider)
        if isinstance(proof, Asked):
            await proof.forget(standing)

    def _due(self, standing: Standing) -> float:
        return self._clock() + self._period(self._of[standing.provider])

    @staticmethod
    def _period(provider: ProviderConfig) -> float:
        return _refresh(provider) or RULES_SECONDS


def _lasting(provider: ProviderConfig) -> bool:
    """Whether what it is asked with ends with the account only, and not with a session there."""
    oidc = provider.oidc
    return oidc is None or "offline_access" in oidc.scopes or oidc.preset in LASTING


def _refresh(provider: ProviderConfig) -> float:
    """Seconds between two questions to a provider; 0: it is not to be asked."""
    match provider.kind:
        case "oidc":
            return (provider.oidc or OidcConfig()).refresh
        case "ldap":
            return (provider.ldap or LdapConfig()).refresh
        case "pam":
            return (provider.pam or PamConfig()).refresh
        case kind if kind not in authenticators.BUILT_IN:
            return authenticators.kind_of(provider).refresh(authenticators.options_of(provider))
        case _:
            return USUAL_SECONDS
