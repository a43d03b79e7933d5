"""How often somebody may try: the limits on failed sign-ins, and the wrapper that holds a provider to them.

Owns: which counts a try belongs to, and what each allows. Refuses to know how a name is proved, and how counts are kept
(`state.store.tries`).

    a stranger's address      all names together: against one guess at each of many names
    a name, from one place    against many guesses at one name
    a name, from anywhere     against many guesses at one name from many places

A person must not be kept out by others who fail at their name. One address cannot fail often enough to shut the name
for anywhere else: it is shut itself first. Many together can; but not for an address from which that person has signed
in before, whose tries do not count under `anywhere`. And whoever shares their address cannot shut it for a browser from
which they have signed in before: it shows a cookie, and is a place of its own.
"""

import asyncio
import hashlib
import secrets
import time
import unicodedata
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from gateway.auth.address import stranger
from gateway.auth.cookies import COOKIES, CookieJar
from gateway.auth.proof import Asked, Proof, Proven, as_before
from portal.site.sign_in import Provider, RefusedError, TooOftenError, UnansweredError
from state.config.tables import ThrottleConfig
from state.errors import NameRuleError
from state.names import user_name
from state.records.models import Standing
from state.store import keys
from state.store.tries import Begun, Limit, Tries, Wait

WRONG: Final = "The name or the password is not right."
"""The one answer to every failure, whoever is meant and whatever it was."""

TYPED_MAX: Final = 256
"""Longest name that is looked at, in characters; more is refused and goes nowhere (CVE-2026-54338)."""
PASSWORD_MAX: Final = 1024
"""Of a password."""
FLOOR: Final = 1.0
"""Seconds that a failure takes at least: a name that is not known fails sooner than one that is."""
KEEP: Final = 90 * 24 * 3600.0
"""Seconds for which a place is familiar after the last sign-in from it."""


class Limits:
    """The limits, as configured. Over a day one place gets some 150 guesses at a name, all together 750."""

    def __init__(self, config: ThrottleConfig) -> None:
        self.place = Limit(free=config.tries, leak=600, most=900)
        self.name = Limit(free=config.tries_per_name, leak=120, most=120)
        self.address = Limit(free=config.tries_per_address, leak=60, most=300)


class Throttled:
    """A provider with a name and a password, whose failures are counted (`gateway.auth.proof.Proof`)."""

    def __init__(
        self,
        proof: Proof,
        tries: Tries,
        limits: Limits,
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
        """The provider's own."""
        return self._proof.shown

    async def prove(self, fields: Mapping[str, str], request: Any) -> Proven:
        """As the provider's. Raises TooOftenError, before it is asked, and UnansweredError."""
        begun_at = self._clock()
        name, password = fields.get("name", ""), fields.get("password", "")
        if len(name) > TYPED_MAX or len(password) > PASSWORD_MAX:
            raise RefusedError(f"A name has at most {TYPED_MAX} characters, and a password {PASSWORD_MAX}.")
        state = request.scope["state"]
        ticket = self._jar.ticket([value for name, value in request.scope["headers"] if name == b"cookie"])
        counted = Counted(self._tries, self._limits, name=name, address=state["address"], ticket=ticket)
        await counted.begin(begun_at)
        try:
            proven = await self._proof.prove({**fields, "name": _plain(name)}, request)
        except RefusedError:
            await self._sleep(max(0.0, begun_at + self._floor - self._clock()))
            raise
        except UnansweredError as error:
            if error.untried:
                await counted.take_back()
            raise
        ticket = await counted.succeeded(self._clock())
        state.setdefault(COOKIES, []).append(self._jar.set(ticket, lifetime=int(KEEP)))
        return proven

    async def again(self, standing: Standing) -> tuple[Proven, str]:
        """See `gateway.auth.proof.Asked`: the provider's word, which no stranger asks for."""
        if not isinstance(self._proof, Asked):
            return as_before(standing), standing.sealed
        return await self._proof.again(standing)

    async def forget(self, standing: Standing) -> None:
        """See `gateway.auth.proof.Asked`: nothing was kept but a name."""


class Counted:
    """One try."""

    def __init__(self, tries: Tries, limits: Limits, *, name: str, address: str, ticket: str) -> None:
        """`name` as it was typed; `ticket`: the browser's cookie, `""`: it has none."""
        self._tries = tries
        self._limits = limits
        self._name = digest(normal(name))
        self._place = digest(stranger(address))
        self._browser = browser(ticket) if ticket else ""
        self._ticket = ticket
        self._known = False
        self._address = keys.tries_from(self._place)
        self._anywhere = keys.tries_at(self._name)
        self._begun: dict[str, Begun] = {}

    async def begin(self, now: float) -> None:
        """Count it. Raises TooOftenError when it may not go on."""
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
        """What this try counts under, one tag after the other."""
        if self._known:
            return [{keys.tries_at(self._name, self._browser): self._limits.place}]
        at_name = {keys.tries_at(self._name, self._place): self._limits.place}
        if not address_known:
            at_name[self._anywhere] = self._limits.name
        return [{self._address: self._limits.address}, at_name]

    async def take_back(self) -> None:
        """It was no failure."""
        for begun in self._begun.values():
            await self._tries.take_back(begun)

    async def succeeded(self, now: float) -> str:
        """Forget the name's failures; the ticket by which this browser is known from now on.

        The address's stay: a stranger with an account could wipe out theirs. A ticket that the name has not signed in
        with is not taken over: somebody may have put it there.
        """
        if self._address in self._begun:
            await self._tries.take_back(self._begun[self._address])
        ticket = self._ticket if self._known else secrets.token_urlsafe(32)
        places = (self._place, browser(ticket))
        forgotten = [self._anywhere, *(keys.tries_at(self._name, place) for place in places)]
        await self._tries.succeeded(self._name, forgotten, places, now=now, keep=KEEP)
        return ticket


def browser(ticket: str) -> str:
    """What stands for a browser in the store: no address has the same."""
    return digest(f"browser {ticket}")


def _plain(typed: str) -> str:
    """The name that the provider is asked for. Raises RefusedError for one that nobody can have here.

    It is the hub's own normal form: a directory takes no notice of invisible characters (RFC 4518 section 2.2), and
    would know one name in any number of spellings.
    """
    try:
        return user_name(typed)
    except NameRuleError:
        raise RefusedError(WRONG) from None


def normal(typed: str) -> str:
    """One form for all ways to type a name, so that each is not a count of its own."""
    return unicodedata.normalize("NFKC", typed).strip().casefold()


def digest(text: str) -> str:
    """What stands for a name or an address in the store."""
    return hashlib.sha256(text.encode()).hexdigest()
