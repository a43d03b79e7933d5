"""A provider's endpoints and keys, fetched once and cached.

Owns how long they are cached, when they are fetched again, and what is rejected. Does not know about tokens and users.

Sources: OpenID Connect Discovery 1.0 sections 4.2 and 4.3 (the issuer must be the one that was asked), RFC 8414,
OpenID Connect Core section 10.1.1 (a key that is not known: fetch the keys again).
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from msgspec import Struct

from gateway.auth.oidc.errors import InvalidResponseError, UnreachableError
from gateway.auth.oidc.protocol import ALGORITHMS, Client, PublicKey, public_keys
from state.config.urls import is_private

log = logging.getLogger("towpath.sign-in")

KEPT_SECONDS: Final = 3600.0
REFETCH_SECONDS: Final = 10.0
"""Minimum seconds between two fetches of the keys because a token names an unknown key."""
URL_MAX: Final = 2048
WELL_KNOWN: Final = "/.well-known/openid-configuration"


class Facts(Struct, frozen=True, kw_only=True):
    """A provider's endpoints. An empty URL: the provider does not have that endpoint.

    `says_issuer`: every authorization response contains its issuer (RFC 9207). `backchannel`: it notifies the
    hub when a user signs out there. `challenges`: the PKCE methods that it says it supports. `algorithms` and
    `userinfo_algorithms`: the signature algorithms of ID tokens and userinfo.
    """

    issuer: str
    authorize: str
    token: str
    userinfo: str = ""
    keys: str = ""
    end_session: str = ""
    revocation: str = ""
    algorithms: tuple[str, ...] = ALGORITHMS
    userinfo_algorithms: tuple[str, ...] = ALGORITHMS
    says_issuer: bool = False
    backchannel: bool = False
    challenges: tuple[str, ...] = ()


class Source(Protocol):
    """Where an engine gets a provider's endpoints and keys."""

    async def facts(self) -> Facts:
        """Return the endpoints."""
        ...

    async def keys(self, key_id: str) -> tuple[PublicKey, ...]:
        """Return the provider's signing keys. `key_id`: the id of the key that is needed."""
        ...


class Discovery:
    """One provider's endpoints and keys, cached in one worker."""

    def __init__(self, client: Client, issuer: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._issuer = issuer
        self._clock = clock
        self._facts: Facts | None = None
        self._facts_at = 0.0
        self._keys: tuple[PublicKey, ...] = ()
        self._keys_at = float("-inf")
        self._turn = asyncio.Lock()

    async def facts(self) -> Facts:
        """Return the endpoints, from the cache if the provider is down.

        Raises UnreachableError, InvalidResponseError.
        """
        if self._facts is not None and self._clock() - self._facts_at < KEPT_SECONDS:
            return self._facts
        async with self._turn:
            if self._facts is None or self._clock() - self._facts_at >= KEPT_SECONDS:
                try:
                    self._facts = facts_in(await self._ask(self._issuer.rstrip("/") + WELL_KNOWN), self._issuer)
                except (UnreachableError, InvalidResponseError) as error:
                    if self._facts is None:
                        raise
                    log.warning("Cannot refresh a provider's metadata. issuer=%s error=%s", self._issuer, error)
                    self._facts_at = self._clock() - KEPT_SECONDS + REFETCH_SECONDS
                else:
                    self._facts_at = self._clock()
        return self._facts

    async def keys(self, key_id: str) -> tuple[PublicKey, ...]:
        """Return the keys. They are fetched again if `key_id` (a key's id) is unknown, at most every REFETCH_SECONDS.

        Raises UnreachableError, InvalidResponseError.
        """
        facts = await self.facts()
        if self._has(key_id) and self._clock() - self._keys_at < KEPT_SECONDS:
            return self._keys
        async with self._turn:
            age = self._clock() - self._keys_at
            if age >= KEPT_SECONDS or (age >= REFETCH_SECONDS and not self._has(key_id)):
                self._keys_at = self._clock()
                try:
                    self._keys = public_keys(await self._ask(facts.keys))
                except UnreachableError:
                    if not self._has(key_id):
                        raise
        return self._keys

    def _has(self, key_id: str) -> bool:
        return bool(self._keys) and (not key_id or any(key.id == key_id for key in self._keys))

    async def _ask(self, url: str) -> Any:
        answer = await self._client.get(url)
        if answer.status != 200:  # noqa: PLR2004 - HTTP
            raise UnreachableError(f"{url} answers {answer.status}")
        return answer.value


def facts_in(found: Any, issuer: str) -> Facts:
    """Read a discovery document, which must be of this issuer. Raises InvalidResponseError."""
    if not isinstance(found, dict):
        raise InvalidResponseError("the discovery document is not a JSON object")
    if found.get("issuer") != issuer:
        raise InvalidResponseError(
            f"the discovery document is of {str(found.get('issuer'))[:URL_MAX]!r}, not of {issuer!r}", claim="issuer"
        )

    def url(name: str, *, needed: bool = False) -> str:
        value = found.get(name)
        if value is None and not needed:
            return ""
        if not isinstance(value, str) or len(value) > URL_MAX or not is_private(value):
            raise InvalidResponseError(f"{name} in the discovery document is not an https URL", claim=name)
        return value

    def names(name: str) -> tuple[str, ...]:
        value = found.get(name)
        return tuple(entry for entry in value if isinstance(entry, str)) if isinstance(value, list) else ()

    def algorithms(name: str) -> tuple[str, ...]:
        offered = names(name)
        return tuple(one for one in ALGORITHMS if one in offered) or ALGORITHMS

    return Facts(
        issuer=issuer,
        authorize=url("authorization_endpoint", needed=True),
        token=url("token_endpoint", needed=True),
        userinfo=url("userinfo_endpoint"),
        keys=url("jwks_uri", needed=True),
        end_session=url("end_session_endpoint"),
        revocation=url("revocation_endpoint"),
        algorithms=algorithms("id_token_signing_alg_values_supported"),
        userinfo_algorithms=algorithms("userinfo_signing_alg_values_supported"),
        says_issuer=found.get("authorization_response_iss_parameter_supported") is True,
        backchannel=found.get("backchannel_logout_supported") is True,
        challenges=names("code_challenge_methods_supported"),
    )
