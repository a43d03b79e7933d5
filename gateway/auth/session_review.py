"""Reviews sessions: asks each session's provider again, and applies the rules again.

Owns when a session is reviewed, and what ends with it. Does not know how a provider is asked
(`gateway.auth.proof.RecheckableProof`) and the rules (`gateway.auth.admission`).

    due → session open, or tokens left? → provider → rules → update the user's record, or end the session

Every worker does this; the store assigns each session to one of them. Only a clear refusal ends a session: a provider
that cannot be reached is asked again later.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from gateway.auth.proof import GoneError, Proof, Proven, RecheckableProof, UnsureError, as_before
from gateway.auth.user_admission import UserAdmission
from portal.site.sign_in import RefusedError
from state.config.tables import AuthConfig, ProviderConfig
from state.errors import StateUnavailableError
from state.plugins.authenticators import kind_of, options_of
from state.records.audit import Act, Entry
from state.records.models import Standing
from state.redis.connection import Command
from state.store.all import Store

log = logging.getLogger("towpath.sign-in")

TICK_SECONDS: Final = 1.0
HOLD_SECONDS: Final = 120.0
"""Seconds for which a session is assigned to one worker: longer than the timeout of any provider."""
BATCH: Final = 64
AT_ONCE: Final = 8
RULES_SECONDS: Final = 3600.0
"""Seconds between reviews if the provider cannot be asked and only the rules apply."""
SOON_SECONDS: Final = 15.0
NO_PROVIDER: Final = "Its provider is no longer configured."


class SessionReview:
    """The review of sessions in one worker."""

    def __init__(
        self,
        store: Store,
        config: AuthConfig,
        proofs: Mapping[str, Proof],
        admitting: UserAdmission,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._of = {provider.name: provider for provider in config.provider}
        self._lifetime = config.session_lifetime
        self._proofs = proofs
        self._admission = admitting
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start reviewing in the background."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Stop reviewing."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def put(self, standing: Standing) -> None:
        """Schedule the next review of a session."""
        await self._store.standings.put(standing, due=self._due(standing), lifetime=self._lifetime)

    def putting(self, standing: Standing) -> Sequence[Command]:
        """Return the store's commands that schedule the review of a session that is about to be opened."""
        return self._store.standings.putting(standing, due=self._due(standing), lifetime=self._lifetime)

    async def review_due(self) -> int:
        """Review all sessions that are due. Returns their number. Raises StateUnavailableError."""
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
                found = await self.review_due()
            except StateUnavailableError:
                found = 0
            except Exception:
                log.exception("The review of sessions failed.")
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
                raise GoneError(f"The user's name at the provider is now {proven.name}.")
        except UnsureError:
            again = min(self._period(provider), SOON_SECONDS * 2 ** min(standing.failures, 10))
            failed = replace(standing, failures=standing.failures + 1)
            await self._store.standings.put(failed, due=self._clock() + again, lifetime=self._lifetime)
            return
        except GoneError as error:
            await self._end(standing, str(error), tokens=provider.end_tokens)
            return
        try:
            await self._admission.admit(provider, proven)
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
        """Return what the provider reports now, and the data to keep. Raises GoneError, UnsureError."""
        if isinstance(proof, RecheckableProof) and standing.asks and _refresh(provider):
            return await proof.again(standing)
        longest = kind_of(provider).max_session_age(options_of(provider))
        if longest and self._clock() - standing.began >= longest:
            raise GoneError("The sign-in is too old, and the provider gave no token to check it again.")
        return as_before(standing), standing.sealed

    def lasts(self, standing: Standing) -> bool:
        """Return whether the provider can be asked about a user who has no session left, here or there."""
        provider = self._of.get(standing.provider)
        return provider is not None and standing.asks and _refresh(provider) > 0 and _lasting(provider)

    async def _outlives(self, standing: Standing) -> bool:
        """Return whether an ended session is still reviewed because the user has tokens.

        If there are several, only the one with the lowest id is, so that workers agree without communication.
        """
        if not self.lasts(standing):
            return False
        everything = await self._store.standings.of_user(standing.user)
        if any(one.provider == standing.provider and one.session < standing.session for one in everything):
            return False
        return await self._store.tokens.count(standing.user) > 0

    async def over(self, standing: Standing, reason: str) -> None:
        """End a session, with the reason in the log and the audit. Raises StateUnavailableError."""
        user, session = standing.user, standing.session
        log.info("Session ended. session=%s user=%s reason=%s", session, user, reason)
        if not self.lasts(standing):
            await self._store.standings.drop(user, session)
        if await self._store.sessions.end(user, session):
            entry = Entry(time=time.time(), act=Act.SIGN_OUT, by=f"session {session}", user=user, why=reason)
            await self._store.audit.note(entry)

    async def _end(self, standing: Standing, reason: str, *, tokens: bool) -> None:
        """End a session and review the user's others immediately. With the last one, the user's tokens end too."""
        await self.over(standing, reason)
        store = self._store
        await store.standings.drop(standing.user, standing.session)
        left = await store.standings.hasten(standing.user, self._clock())
        if not left and tokens:
            await store.auth_states.drop(standing.user)
            await store.tokens.revoke_all(standing.user)
        await store.feed.revoke(user=standing.user)

    async def _forget(self, standing: Standing) -> None:
        proof = self._proofs.get(standing.provider)
        if isinstance(proof, RecheckableProof):
            await proof.forget(standing)

    def _due(self, standing: Standing) -> float:
        return self._clock() + self._period(self._of[standing.provider])

    @staticmethod
    def _period(provider: ProviderConfig) -> float:
        return _refresh(provider) or RULES_SECONDS


def _lasting(provider: ProviderConfig) -> bool:
    """Return whether the provider's tokens end with the account, and not with the session at the provider."""
    return kind_of(provider).lasting(options_of(provider))


def _refresh(provider: ProviderConfig) -> float:
    """Return the seconds between two checks with a provider; 0: it is not asked."""
    return kind_of(provider).refresh(options_of(provider))
