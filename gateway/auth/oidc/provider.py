"""A provider of kind `oidc` as the hub's sign-in sees it (`gateway.auth.proof.Asked`).

Owns: its parts put together, from what it says to what it proves (name, groups, whether its rules let somebody in),
and what is kept to ask it again. Refuses to know sessions, records and the rules of [auth].
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway.auth.naming import hub_name, shown
from gateway.auth.oidc import claims as reading
from gateway.auth.oidc.door import Client, Seal
from gateway.auth.oidc.engine import HINT_MAX, Engine, Told
from gateway.auth.oidc.errors import AwayError, ProviderError, UnbelievableError
from gateway.auth.oidc.logout import Ended
from gateway.auth.oidc.presets import PRESETS
from gateway.auth.oidc.words import refusal
from gateway.auth.proof import GoneError, Proven, UnsureError, as_before
from portal.site.sign_in import Provider, RefusedError
from state.config.tables import OidcConfig, ProviderConfig
from state.names import as_listed
from state.records.models import Flow, Standing
from state.settings.files import logo_name

log = logging.getLogger("towpath.sign-in")

OVER: Final = frozenset({"invalid_grant", "invalid_token", "bad_refresh_token", "insufficient_scope"})
"""Answers that say that what the hub holds is worth nothing any more (RFC 6749 section 5.2, RFC 6750, GitHub's)."""
GOODBYE_SECONDS: Final = 2.0
_FAULTS: Final = (AwayError, ProviderError, UnbelievableError)


class Tokens(Struct, frozen=True, kw_only=True):
    """What is kept of a sign-in, sealed. `access` only where there is no other way to ask again."""

    refresh: str = ""
    access: str = ""
    id: str = ""


class OidcProvider:
    """One [[auth.provider]] of kind `oidc`."""

    def __init__(
        self, config: ProviderConfig, everybody: tuple[ProviderConfig, ...], *, redirect_uri: str, signed_out: str
    ) -> None:
        """`everybody`: all providers. `redirect_uri`: where this one sends people back to; `signed_out`: and then."""
        given = config.oidc or OidcConfig()
        preset = PRESETS[given.preset]
        self.config = config
        self.redirect_uri = redirect_uri
        self.title = config.title or preset.title
        self.shown = Provider(name=config.name, title=self.title, note=config.note, form="link", logo=logo_name(config))
        self.given = given
        self._preset = preset
        self.signed_out = signed_out
        self._seal = Seal(given.client_id, given.client_secret)
        self._everybody = everybody
        self._table = {as_listed(name): here for name, here in config.names.items()}
        self._client = Client(
            client_id=given.client_id,
            client_secret=given.client_secret,
            auth_method=given.client_auth,
            timeout=given.timeout,
            ca_file=given.ca_file,
            proxy=given.proxy,
        )
        self.engine = Engine(given, preset, self._client)
        self._said: set[str] = set()

    async def prove(self, fields: Mapping[str, str], request: Any) -> Proven:  # noqa: ARG002
        """No form proves anything here. Raises RefusedError."""
        raise RefusedError(f"Use the button of {self.title}.")

    async def depart(self, browser: str, next_url: str, *, other: bool, sealing: Callable[[Flow], str]) -> str:
        """See `Engine.depart`. Raises RefusedError."""
        try:
            return await self.engine.depart(
                name=self.config.name,
                browser=browser,
                redirect_uri=self.redirect_uri,
                next_url=next_url,
                other=other,
                sealing=sealing,
            )
        except _FAULTS as error:
            raise self._refusal(error) from error

    async def arrive(self, flow: Flow, answer: Mapping[str, str]) -> tuple[Told, Proven]:
        """Who has come back. Raises RefusedError."""
        try:
            told = await self.engine.arrive(flow, answer)
        except _FAULTS as error:
            raise self._refusal(error) from error
        return told, self.proven(told)

    def kept(self, told: Told, before: Tokens | None = None) -> tuple[str, bool]:
        """What is kept of an answer, sealed, and whether it can be asked again with that.

        A refresh that brings no new token leaves the old one in use.
        """
        was = before or Tokens()
        refresh = told.refresh_token or was.refresh
        access = "" if refresh or self._preset.openid else told.access_token
        hint = told.id_token or was.id
        tokens = Tokens(refresh=refresh, access=access, id=hint if len(hint) <= HINT_MAX else "")
        return self._seal.close(msgspec.json.encode(tokens).decode()), bool(refresh or access)

    async def again(self, standing: Standing) -> tuple[Proven, str]:
        """See `gateway.auth.proof.Asked`."""
        tokens = self._open(standing)
        try:
            told = await self.engine.again(standing.subject, refresh_token=tokens.refresh, access_token=tokens.access)
        except ProviderError as error:
            if error.code in OVER:
                raise GoneError(f"{self.config.name} says “{error}”.") from error
            log.warning("%s does not let the hub ask again: %s", self.config.name, error)
            raise UnsureError(str(error)) from error
        except UnbelievableError as error:
            if error.claim == "sub":
                raise GoneError(f"The answer of {self.config.name} was about somebody else.") from error
            log.warning("The answer of %s cannot be believed: %s", self.config.name, error)
            raise UnsureError(str(error)) from error
        except AwayError as error:
            raise UnsureError(str(error)) from error
        sealed, _ = self.kept(told, tokens)
        if not told.whole and not reading.name_of(told.claims, self._name_claim):
            return as_before(standing), sealed
        try:
            return self.proven(told), sealed
        except RefusedError as error:
            raise GoneError(str(error)) from error

    async def forget(self, standing: Standing) -> None:
        """See `gateway.auth.proof.Asked`."""
        try:
            await self.engine.forget(self._open(standing).refresh)
        except (*_FAULTS, GoneError) as error:
            log.info("%s was not told that a sign-in is over: %s", self.config.name, error)

    async def goodbye(self, standing: Standing) -> str:
        """The URL at which they sign out there too; `""`: there is none, or nobody wants it.

        A provider that is away holds nobody up: their session here has not ended yet.
        """
        if not self.given.sign_out:
            return ""
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                return await self.engine.goodbye(self._open(standing).id, self.signed_out)
        except (*_FAULTS, GoneError, TimeoutError) as error:
            log.info("There is no way to sign out at %s: %s", self.config.name, error)
            return ""

    async def ended(self, logout_token: str) -> Ended:
        """See `Engine.ended`. Raises RefusedError."""
        try:
            return await self.engine.ended(logout_token)
        except _FAULTS as error:
            log.warning("A logout token for %s was refused: %s", self.config.name, error)
            raise RefusedError("The logout token is not to be believed.") from error

    def proven(self, told: Told) -> Proven:
        """What follows for the hub from what the provider says. Raises RefusedError.

        A groups claim that is absent from a complete answer means that the user is in no group: a claim without a value
        is omitted (OpenID Connect Core section 5.3.2; so do Okta and Keycloak). Groups are unknown only when the answer
        need not be complete, or when the provider says that there are too many of them.
        """
        given, found = self.given, told.claims
        self._log_odd_shapes(told)
        raw = reading.name_of(found, self._name_claim)
        if raw and self._name_claim == "email" and not reading.verified_email(found):
            raise RefusedError(
                f"{self.title} has not verified that {shown(raw)} is your address, so it cannot be your name here.",
                hint="Verify it there, then sign in again.",
            )
        if not reading.matches(found, given.required_claims):
            raise RefusedError(
                f"You are signed in as {shown(raw)}, and accounts of that kind may not enter this hub.",
                hint="Sign in with another account, or ask the people who run this hub.",
                other=self.config.name,
            )
        if reading.too_many(found, self._groups_claim):
            raise RefusedError(
                f"You are in more groups than {self.title} names at once, so your rights here are not known.",
                hint="Tell the people who run this hub: the provider should name only the groups that matter here.",
            )
        return Proven(
            name=hub_name(raw, self.config, self._everybody, self._table),
            groups=self._groups(told),
            admin=any(reading.matches(found, {path: values}) for path, values in given.admin_claims.items()),
            allowed=any(reading.matches(found, {path: values}) for path, values in given.allowed_claims.items()),
            shown=shown(raw),
            subject=told.subject,
        )

    def _groups(self, told: Told) -> tuple[str, ...] | None:
        """All of the user's groups; None: the provider was not asked for them, or said nothing that is complete."""
        claim = self._groups_claim
        if not claim or (not told.whole and reading.find(told.claims, claim) is None):
            return None
        return reading.groups(told.claims, claim, separator=self.given.groups_separator)

    def _log_odd_shapes(self, told: Told) -> None:
        """Say how this provider writes claims where that is unusual, each once: it does so for every user."""
        shapes = reading.odd_shapes(
            told.claims,
            name=self._name_claim,
            groups_=self._groups_claim,
            separator=self.given.groups_separator,
        )
        for sentence in shapes:
            if sentence not in self._said:
                self._said.add(sentence)
                log.warning("Unusual claims. provider=%s: %s", self.config.name, sentence)

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()

    @property
    def _name_claim(self) -> str:
        return self.given.name_claim or self._preset.name_claim

    @property
    def _groups_claim(self) -> str:
        return self.given.groups_claim or self._preset.groups_claim

    def _refusal(self, error: AwayError | ProviderError | UnbelievableError) -> RefusedError:
        log.warning("A sign-in by %s did not work out: %s", self.config.name, error)
        return refusal(error, self.title)

    def _open(self, standing: Standing) -> Tokens:
        """Raises GoneError when the client secret is another one now: nothing can be asked with what is kept."""
        if not standing.sealed:
            return Tokens()
        try:
            return msgspec.json.decode(self._seal.open(standing.sealed), type=Tokens)
        except UnbelievableError as error:
            raise GoneError("What was kept of it was sealed with another client secret.") from error
