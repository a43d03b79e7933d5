"""A provider of kind `oidc` (`gateway.auth.proof.RecheckableProof`).

Owns the steps from the provider's claims to what they prove (name, groups, whether its rules allow the sign-in),
and the data that is kept to ask it again. Does not know about sessions, records and the rules of [auth].
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway.auth.kinds.oidc import OidcConfig
from gateway.auth.naming import hub_name, shown
from gateway.auth.oidc import claims as reading
from gateway.auth.oidc.engine import HINT_MAX, Engine, ProviderAccount
from gateway.auth.oidc.errors import InvalidResponseError, ProviderError, UnreachableError
from gateway.auth.oidc.logout import Ended
from gateway.auth.oidc.messages import refusal
from gateway.auth.oidc.presets import PRESETS
from gateway.auth.oidc.protocol import Client, Seal
from gateway.auth.portal_request import PortalRequest
from gateway.auth.proof import GoneError, Proven, UnsureError, as_before
from portal.site.sign_in import Provider, RefusedError
from state.config.tables import ProviderConfig
from state.names import as_listed
from state.records.models import Flow, Standing
from state.settings.files import logo_name

log = logging.getLogger("towpath.sign-in")

OVER: Final = frozenset({"invalid_grant", "invalid_token", "bad_refresh_token", "insufficient_scope"})
"""Errors which mean that the hub's tokens are no longer valid (RFC 6749 section 5.2, RFC 6750, GitHub)."""
GOODBYE_SECONDS: Final = 2.0
_FAULTS: Final = (UnreachableError, ProviderError, InvalidResponseError)


class Tokens(Struct, frozen=True, kw_only=True):
    """The tokens that are kept, encrypted. `access` is kept only if there is no other way to ask again."""

    refresh: str = ""
    access: str = ""
    id: str = ""


class OidcProvider:
    """One [[auth.provider]] of kind `oidc`."""

    def __init__(
        self, config: ProviderConfig, providers: tuple[ProviderConfig, ...], *, redirect_uri: str, signed_out: str
    ) -> None:
        """`providers`: all providers. `redirect_uri`: for sign-in. `signed_out`: the URL after signing out."""
        oidc: OidcConfig = config.options or OidcConfig()
        preset = PRESETS[oidc.preset]
        self.config = config
        self.redirect_uri = redirect_uri
        self.title = config.title or preset.title
        self.shown = Provider(name=config.name, title=self.title, note=config.note, form="link", logo=logo_name(config))
        self.oidc = oidc
        self._preset = preset
        self.signed_out = signed_out
        self._seal = Seal(oidc.client_id, oidc.client_secret)
        self._providers = providers
        self._table = {as_listed(name): local_name for name, local_name in config.names.items()}
        self._client = Client(
            client_id=oidc.client_id,
            client_secret=oidc.client_secret,
            auth_method=oidc.client_auth,
            timeout=oidc.timeout,
            ca_file=oidc.ca_file,
            proxy=oidc.proxy,
        )
        self.engine = Engine(oidc, preset, self._client)
        self._logged: set[str] = set()

    async def prove(self, fields: Mapping[str, str], request: PortalRequest) -> Proven:  # noqa: ARG002
        """Raise RefusedError: this provider has no form."""
        raise RefusedError(f"Sign in with the button {self.title}.")

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

    async def arrive(self, flow: Flow, answer: Mapping[str, str]) -> tuple[ProviderAccount, Proven]:
        """Return the user who came back from the provider. Raises RefusedError."""
        try:
            account = await self.engine.arrive(flow, answer)
        except _FAULTS as error:
            raise self._refusal(error) from error
        return account, self.proven(account)

    def kept(self, account: ProviderAccount, before: Tokens | None = None) -> tuple[str, bool]:
        """Return the encrypted tokens to keep, and whether the provider can be asked again with them.

        If a refresh returns no new refresh token, the old one stays in use.
        """
        was = before or Tokens()
        refresh = account.refresh_token or was.refresh
        access = "" if refresh or self._preset.openid else account.access_token
        hint = account.id_token or was.id
        tokens = Tokens(refresh=refresh, access=access, id=hint if len(hint) <= HINT_MAX else "")
        return self._seal.close(msgspec.json.encode(tokens).decode()), bool(refresh or access)

    async def again(self, standing: Standing) -> tuple[Proven, str]:
        """See `gateway.auth.proof.RecheckableProof`."""
        tokens = self._open(standing)
        try:
            account = await self.engine.again(
                standing.subject, refresh_token=tokens.refresh, access_token=tokens.access
            )
        except ProviderError as error:
            if error.code in OVER:
                raise GoneError(f"The provider {self.config.name} answered “{error}”.") from error
            log.warning("A provider rejected a check of a session. provider=%s error=%s", self.config.name, error)
            raise UnsureError(str(error)) from error
        except InvalidResponseError as error:
            if error.claim == "sub":
                raise GoneError(f"The response of {self.config.name} was about another user.") from error
            log.warning("A provider's response is not valid. provider=%s error=%s", self.config.name, error)
            raise UnsureError(str(error)) from error
        except UnreachableError as error:
            raise UnsureError(str(error)) from error
        sealed, _ = self.kept(account, tokens)
        if not account.complete and not reading.name_of(account.claims, self._name_claim):
            return as_before(standing), sealed
        try:
            return self.proven(account), sealed
        except RefusedError as error:
            raise GoneError(str(error)) from error

    async def forget(self, standing: Standing) -> None:
        """See `gateway.auth.proof.RecheckableProof`."""
        try:
            await self.engine.forget(self._open(standing).refresh)
        except (*_FAULTS, GoneError) as error:
            log.info("Cannot revoke a token at the provider. provider=%s error=%s", self.config.name, error)

    async def goodbye(self, standing: Standing) -> str:
        """Return the URL that signs the user out at the provider; `""`: there is none, or it is turned off.

        Waits only briefly for a provider that does not respond, because the session here has not ended yet.
        """
        if not self.oidc.sign_out:
            return ""
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                return await self.engine.goodbye(self._open(standing).id, self.signed_out)
        except (*_FAULTS, GoneError, TimeoutError) as error:
            log.info("Cannot sign out at the provider. provider=%s error=%s", self.config.name, error)
            return ""

    async def ended(self, logout_token: str) -> Ended:
        """See `Engine.ended`. Raises RefusedError."""
        try:
            return await self.engine.ended(logout_token)
        except _FAULTS as error:
            log.warning("Rejected a logout token. provider=%s error=%s", self.config.name, error)
            raise RefusedError("The logout token is not valid.") from error

    def proven(self, account: ProviderAccount) -> Proven:
        """Return what the provider's claims prove to the hub. Raises RefusedError.

        A groups claim that is absent from a complete answer means that the user is in no group: a claim without a value
        is omitted (OpenID Connect Core section 5.3.2; so do Okta and Keycloak). Groups are unknown only when the answer
        need not be complete, or when the provider says that there are too many of them.
        """
        oidc, found = self.oidc, account.claims
        self._log_odd_shapes(account)
        raw = reading.name_of(found, self._name_claim)
        if raw and self._name_claim == "email" and not reading.verified_email(found):
            raise RefusedError(
                f"{self.title} has not verified your address {shown(raw)}.",
                hint="Verify it there, then sign in again.",
            )
        if not reading.matches(found, oidc.required_claims):
            raise RefusedError(
                f"You are signed in as {shown(raw)}, but this account is not allowed to use this hub.",
                hint="Sign in with another account, or ask your admin for access.",
                other=self.config.name,
            )
        if reading.too_many(found, self._groups_claim):
            raise RefusedError(
                f"You are in more groups than {self.title} can report, so your permissions are unknown.",
                hint="Ask your admin to limit the groups that the provider reports to this hub.",
            )
        return Proven(
            name=hub_name(raw, self.config, self._providers, self._table),
            groups=self._groups(account),
            admin=any(reading.matches(found, {path: values}) for path, values in oidc.admin_claims.items()),
            allowed=any(reading.matches(found, {path: values}) for path, values in oidc.allowed_claims.items()),
            shown=shown(raw),
            subject=account.subject,
            auth_state=self._auth_state(account) if self.config.auth_state else None,
        )

    @staticmethod
    def _auth_state(account: ProviderAccount) -> dict[str, Any] | None:
        """Return what hooks get.

        Not the refresh token, because a provider that sees it from two clients revokes it (RFC 9700 section 4.14). A
        refresh that brings no access token leaves the earlier state in use.
        """
        if not account.access_token:
            return None
        return {"access_token": account.access_token, "id_token": account.id_token, "claims": account.claims}

    def _groups(self, account: ProviderAccount) -> tuple[str, ...] | None:
        """Return all groups of the user; None: no groups claim is configured, or the claims are not complete."""
        claim = self._groups_claim
        if not claim or (not account.complete and reading.find(account.claims, claim) is None):
            return None
        return reading.groups(account.claims, claim, separator=self.oidc.groups_separator)

    def _log_odd_shapes(self, account: ProviderAccount) -> None:
        """Log unusual claims of this provider, each once, because every user's claims have the same shape."""
        shapes = reading.odd_shapes(
            account.claims,
            name=self._name_claim,
            groups_=self._groups_claim,
            separator=self.oidc.groups_separator,
        )
        for sentence in shapes:
            if sentence not in self._logged:
                self._logged.add(sentence)
                log.warning("Unusual claims. provider=%s: %s", self.config.name, sentence)

    async def close(self) -> None:
        """Close the connections to the provider."""
        await self._client.close()

    @property
    def _name_claim(self) -> str:
        return self.oidc.name_claim or self._preset.name_claim

    @property
    def _groups_claim(self) -> str:
        return self.oidc.groups_claim or self._preset.groups_claim

    def _refusal(self, error: UnreachableError | ProviderError | InvalidResponseError) -> RefusedError:
        log.warning("A sign-in failed. provider=%s error=%s", self.config.name, error)
        return refusal(error, self.title)

    def _open(self, standing: Standing) -> Tokens:
        """Decrypt the kept tokens. Raises GoneError if the client secret has changed since."""
        if not standing.sealed:
            return Tokens()
        try:
            return msgspec.json.decode(self._seal.open(standing.sealed), type=Tokens)
        except InvalidResponseError as error:
            raise GoneError("The client secret has changed since the sign-in.") from error
