"""Limits on failed sign-ins, and the wrapper that applies them to a provider.

Owns which counters an attempt belongs to, and their limits. Does not know how a name is proved, or how counters are
stored (`state.store.tries`).

    an address, all names        protects against one guess at each of many names
    a name, from one place       protects against many guesses at one name
    a name, from any new place   protects against many guesses at one name from many places

Failures by others must not lock a user out. One address cannot block a name for other places, because it is blocked
first. Many addresses together can, but not for an address from which the user has signed in before: its attempts do not
count under `any new place`. And others behind the user's address cannot block a browser in which the user has signed in
before: it has a cookie, and is a place of its own.
"""

import asyncio
import hashlib
import secrets
import time
import unicodedata
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from gateway.auth.cookies import COOKIES, CookieJar
from gateway.auth.portal_request import PortalRequest
from gateway.auth.proof import Closable, Proof, Proven, RecheckableProof, as_before
from gateway.wire.addresses import client_key
from portal.site.sign_in import Provider, RefusedError, TooOftenError, UnansweredError
from state.config.tables import ThrottleConfig
from state.errors import NameRuleError
from state.names import user_name
from state.records.models import Standing
from state.store import keys
from state.store.tries import Begun, Limit, Tries, Wait

WRONG: Final = "The name or the password is incorrect."
"""The message for every failure, for any name and any cause."""

TYPED_MAX: Final = 256
"""Maximum length of a name, in characters. Longer ones are rejected and not processed (CVE-2026-54338)."""
PASSWORD_MAX: Final = 1024
"""Maximum length of a password, in characters."""
FLOOR: Final = 1.0
"""Minimum duration of a failure, in seconds: without it an unknown name would fail faster than a known one."""
KEEP: Final = 90 * 24 * 3600.0
"""Seconds for which a place stays familiar after the last sign-in from it."""


class ThrottleLimits:
    """The configured limits. In a day one place gets about 150 guesses at a name, and all places together 750."""

    def __init__(self, config: ThrottleConfig) -> None:
        self.place = Limit(free=config.tries, leak=600, most=900)
        self.name = Limit(free=config.tries_per_name, leak=120, most=120)
        self.address = Limit(free=config.tries_per_address, leak=60, most=300)


class ThrottledProof:
    """A provider with a name and a password whose failures are counted (`gateway.auth.proof.Proof`)."""

    def __init__(
        self,
        proof: Proof,
        tries: Tries,
        limits: ThrottleLimits,
        jar: CookieJar,
        *,
        floor: float = FLOOR,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._proof = proof
        self._tries = tries
        self._limits = limits
        self._jar = jar
        self._floor = floor
        self._clock = clock
        self._sleep = sleep

    @property
    def shown(self) -> Provider:
        """How the sign-in page shows the provider."""
        return self._proof.shown

    async def prove(self, fields: Mapping[str, str], request: PortalRequest) -> Proven:
        """Prove the user with the provider. Raises TooOftenError before it is asked, RefusedError, UnansweredError."""
        begun_at = self._clock()
        name, password = fields.get("username", ""), fields.get("password", "")
        if len(name) > TYPED_MAX or len(password) > PASSWORD_MAX:
            raise RefusedError(f"A name has at most {TYPED_MAX} characters, and a password at most {PASSWORD_MAX}.")
        state = request.scope["state"]
        ticket = self._jar.ticket([value for name, value in request.scope["headers"] if name == b"cookie"])
        attempt = CountedAttempt(self._tries, self._limits, name=name, address=state["address"], ticket=ticket)
        await attempt.begin(begun_at)
        try:
            proven = await self._proof.prove({**fields, "username": _plain(name)}, request)
        except RefusedError:
            await self._sleep(max(0.0, begun_at + self._floor - self._clock()))
            raise
        except UnansweredError as error:
            if error.untried:
                await attempt.take_back()
            raise
        ticket = await attempt.succeeded(self._clock())
        state.setdefault(COOKIES, []).append(self._jar.set(ticket, lifetime=int(KEEP)))
        return proven

    async def again(self, standing: Standing) -> tuple[Proven, str]:
        """See `gateway.auth.proof.RecheckableProof`. Not throttled: only the hub asks."""
        if not isinstance(self._proof, RecheckableProof):
            return as_before(standing), standing.sealed
        return await self._proof.again(standing)

    async def forget(self, standing: Standing) -> None:
        """See `gateway.auth.proof.RecheckableProof`. Only a name was kept, so there is nothing to do."""

    async def close(self) -> None:
        """Close the connections of a plug-in."""
        if isinstance(self._proof, Closable):
            await self._proof.close()


class CountedAttempt:
    """One attempt to sign in."""

    def __init__(self, tries: Tries, limits: ThrottleLimits, *, name: str, address: str, ticket: str) -> None:
        """`name`: as it was typed. `ticket`: the browser's cookie, or `""`."""
        self._tries = tries
        self._limits = limits
        self._name = digest(normal(name))
        self._place = digest(client_key(address))
        self._browser = browser(ticket) if ticket else ""
        self._ticket = ticket
        self._known = False
        self._address = keys.tries_from(self._place)
        self._anywhere = keys.tries_at(self._name)
        self._begun: dict[str, Begun] = {}

    async def begin(self, now: float) -> None:
        """Count the attempt. Raises TooOftenError if a counter blocks it."""
        places = [place for place in (self._place, self._browser) if place]
        familiar = await self._tries.familiar(self._name, places, now=now)
        self._known = self._browser in familiar
        for limits in self._counts(address_known=self._place in familiar):
            begun = await self._tries.begin(limits, now=now)
            if isinstance(begun, Wait):
                await self.take_back()
                raise TooOftenError(begun.seconds)
            self._begun[next(iter(limits))] = begun

    def _counts(self, *, address_known: bool) -> list[dict[str, Limit]]:
        """Return the counters of this attempt with their limits, one dict per hash tag."""
        if self._known:
            return [{keys.tries_at(self._name, self._browser): self._limits.place}]
        at_name = {keys.tries_at(self._name, self._place): self._limits.place}
        if not address_known:
            at_name[self._anywhere] = self._limits.name
        return [{self._address: self._limits.address}, at_name]

    async def take_back(self) -> None:
        """Undo the counting: the attempt was not a failure."""
        for begun in self._begun.values():
            await self._tries.take_back(begun)

    async def succeeded(self, now: float) -> str:
        """Clear the failures under the name and return the ticket that identifies this browser from now on.

        The failures of the address stay, because an attacker with an account could clear them. A ticket that this name
        has not used before is replaced, because someone else may have planted it.
        """
        if self._address in self._begun:
            await self._tries.take_back(self._begun[self._address])
        ticket = self._ticket if self._known else secrets.token_urlsafe(32)
        places = (self._place, browser(ticket))
        forgotten = [self._anywhere, *(keys.tries_at(self._name, place) for place in places)]
        await self._tries.succeeded(self._name, forgotten, places, now=now, keep=KEEP)
        return ticket


def browser(ticket: str) -> str:
    """Return the digest of a browser's ticket for the store; no address has the same one."""
    return digest(f"browser {ticket}")


def _plain(typed: str) -> str:
    """Return the name for the provider, in the hub's normal form. Raises RefusedError for an invalid name.

    A directory ignores invisible characters (RFC 4518 section 2.2) and would accept any number of spellings of a name.
    """
    try:
        return user_name(typed)
    except NameRuleError:
        raise RefusedError(WRONG) from None


def normal(typed: str) -> str:
    """Return one form for all spellings of a name, so that they share a counter."""
    return unicodedata.normalize("NFKC", typed).strip().casefold()


def digest(text: str) -> str:
    """Return the digest of a name or an address for the store."""
    return hashlib.sha256(text.encode()).hexdigest()
