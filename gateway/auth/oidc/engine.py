"""The authorization code flow, with all its checks.

Owns the order of the steps. Does not know about the hub's user names, sessions and admission.

    depart → the provider → arrive: state (`gateway.auth.oidc.flow`) → iss → code for tokens → ID token → claims

Sources: OpenID Connect Core 1.0 sections 3.1 and 12, RFC 6749 section 4.1, RFC 7636, RFC 9207 (mix-up), RFC 9700,
OpenID Connect RP-Initiated Logout 1.0.
"""

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from msgspec import Struct

from gateway.auth.kinds.oidc import OidcConfig
from gateway.auth.oidc import claims as reading
from gateway.auth.oidc.discovery import Discovery, Facts, Source
from gateway.auth.oidc.errors import InvalidResponseError, ProviderError, UnreachableError
from gateway.auth.oidc.logout import Ended, check_logout_token
from gateway.auth.oidc.presets import Preset
from gateway.auth.oidc.profile import Profile
from gateway.auth.oidc.protocol import Client, PublicKey, check_id_token, signed, verified
from state.records.models import Flow

TOKEN_MAX: Final = 64 * 1024
HINT_MAX: Final = 6 * 1024
"""Maximum length of an ID token in the URL of the provider's sign-out."""
SUBJECT_MAX: Final = 255
CODE_MAX: Final = 4096


class ProviderAccount(Struct, frozen=True, kw_only=True):
    """What a provider has reported about a user, verified. An empty token: the provider sent none.

    `complete`: the claims are complete, so an absent claim has no value.
    """

    subject: str
    claims: dict[str, Any]
    refresh_token: str = ""
    access_token: str = ""
    id_token: str = ""
    sid: str = ""
    complete: bool = True


class Engine:
    """One provider in one worker. Methods raise UnreachableError, ProviderError and InvalidResponseError."""

    def __init__(
        self, config: OidcConfig, preset: Preset, client: Client, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._config = config
        self._preset = preset
        self._client = client
        self._clock = clock
        self._issuer = config.issuer or (config.url if preset.openid else "") or preset.issuer
        self._profile = None if preset.openid else Profile(client, preset, config.url)
        self._source: Source = self._profile or Discovery(client, self._issuer)
        self._used_claims = tuple(
            dict.fromkeys(
                path
                for path in (
                    config.name_claim or preset.name_claim,
                    config.groups_claim or preset.groups_claim,
                    *config.required_claims,
                    *config.allowed_claims,
                    *config.admin_claims,
                )
                if path
            )
        )

    async def facts(self) -> Facts:
        """Return the provider's endpoints."""
        return await self._source.facts()

    async def keys(self) -> tuple[PublicKey, ...]:
        """Return the provider's signing keys."""
        return await self._source.keys("")

    async def depart(
        self,
        *,
        name: str,
        browser: str,
        redirect_uri: str,
        next_url: str,
        other: bool,
        sealing: Callable[[Flow], str],
    ) -> str:
        """Return the URL to which the browser is redirected. `sealing`: encrypts the flow into its `state`.

        `other`: the user wants to sign in with another account than the current one there.
        """
        facts = await self.facts()
        nonce, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
        config, preset = self._config, self._preset
        parameters = {
            parameter: ",".join(config.required_claims[path])
            for parameter, path in preset.hints
            if len(config.required_claims.get(path, ())) == 1 or (path == "idp" and path in config.required_claims)
        }
        parameters.update(preset.extra)
        parameters.update(config.parameters)
        if other:
            parameters["prompt"] = preset.other
        if preset.openid:
            parameters["nonce"] = nonce
        flow = Flow(
            provider=name,
            browser=browser,
            nonce=nonce,
            verifier=verifier,
            redirect_uri=redirect_uri,
            created=self._clock(),
            next=next_url,
        )
        return self._client.authorization_url(
            facts.authorize,
            state=sealing(flow),
            verifier=verifier,
            redirect_uri=redirect_uri,
            scope=" ".join(config.scopes or preset.scopes),
            **{name: value for name, value in parameters.items() if value},
        )

    async def arrive(self, flow: Flow, answer: Mapping[str, str]) -> ProviderAccount:
        """Verify the provider's response. The caller has checked that the flow belongs to this browser."""
        facts = await self.facts()
        issuer = answer.get("iss")
        if (issuer is None and facts.says_issuer) or (issuer is not None and issuer != facts.issuer):
            raise InvalidResponseError(f"the response is from {issuer!r:.200}, not from {facts.issuer!r}", claim="iss")
        if "error" in answer:
            raise ProviderError(answer["error"], answer.get("error_description", ""))
        code = answer.get("code", "")
        if not code or len(code) > CODE_MAX:
            raise InvalidResponseError("the response contains no code")
        tokens = await self._client.exchange(
            facts.token, code=code, verifier=flow.verifier, redirect_uri=flow.redirect_uri
        )
        return await self._verify_tokens(facts, tokens, nonce=flow.nonce, subject="")

    async def again(self, subject: str, *, refresh_token: str, access_token: str) -> ProviderAccount:
        """Ask the provider again about a user. Returns new tokens and the current claims."""
        facts = await self.facts()
        if refresh_token:
            tokens = await self._client.refresh(facts.token, refresh_token)
        else:
            tokens = {"access_token": access_token}
        return await self._verify_tokens(facts, tokens, nonce="", subject=subject)

    async def forget(self, refresh_token: str) -> None:
        """Revoke the refresh token if the provider supports it (RFC 7009)."""
        facts = await self.facts()
        if facts.revocation and refresh_token:
            await self._client.revoke(facts.revocation, refresh_token)

    async def goodbye(self, id_token: str, back: str) -> str:
        """Return the URL that signs the user out there and redirects to `back`; `""`: there is none."""
        facts = await self.facts()
        if not facts.end_session:
            return ""
        query = {"client_id": self._config.client_id, "post_logout_redirect_uri": back}
        if id_token:
            query["id_token_hint"] = id_token
        mark = "&" if "?" in facts.end_session else "?"
        return f"{facts.end_session}{mark}{urlencode(query)}"

    async def ended(self, logout_token: str) -> Ended:
        """Return whose session has ended, according to a logout token (back-channel logout)."""
        if self._profile is not None or not 0 < len(logout_token) <= TOKEN_MAX:
            raise InvalidResponseError("not a logout token")
        header, found = await self._signed(await self.facts(), logout_token)
        return check_logout_token(
            header,
            found,
            issuers=(self._issuer, *self._preset.issuers),
            client_id=self._config.client_id,
            now=self._clock(),
            leeway=self._config.leeway,
        )

    async def _verify_tokens(
        self, facts: Facts, tokens: Mapping[str, Any], *, nonce: str, subject: str
    ) -> ProviderAccount:
        """Verify tokens. `subject` empty: a sign-in, which needs an ID token. Otherwise the user must be the same."""
        access, refresh, token = (_secret(tokens, name) for name in ("access_token", "refresh_token", "id_token"))
        found: dict[str, Any] = {}
        complete = True
        if self._profile is not None:
            token = ""
            found = await self._profile.read(access)
        elif token:
            found = await self._claims(facts, token, nonce=nonce, access_token=access)
        elif not subject:
            raise InvalidResponseError("the token endpoint sent no ID token", claim="id_token")
        reported = reading.text(found, self._preset.subject)
        own = subject or reported
        if not 0 < len(own) <= SUBJECT_MAX or (found and reported != own):
            raise InvalidResponseError("the response is about another user", claim="sub")
        if (
            self._profile is None
            and facts.userinfo
            and access
            and (not token or reading.missing(found, self._used_claims))
        ):
            found = {**await self._userinfo(facts, access, own), **found}
        elif subject and self._profile is None and reading.missing(found, self._used_claims):
            complete = False
        return ProviderAccount(
            subject=own,
            claims=found,
            refresh_token=refresh,
            access_token=access,
            id_token=token,
            sid=reading.text(found, "sid"),
            complete=complete,
        )

    async def _claims(self, facts: Facts, token: str, *, nonce: str, access_token: str) -> dict[str, Any]:
        header, found = await self._signed(facts, token)
        check_id_token(
            header,
            reading.with_numeric_times(found),
            issuers=(self._issuer, *self._preset.issuers),
            client_id=self._config.client_id,
            nonce=nonce,
            access_token=access_token,
            now=self._clock(),
            leeway=self._config.leeway,
        )
        return found

    async def _signed(self, facts: Facts, token: str) -> tuple[dict[str, Any], dict[str, Any]]:
        form = signed(token)
        return verified(form, await self._source.keys(form.key), facts.algorithms)

    async def _userinfo(self, facts: Facts, access_token: str, subject: str) -> dict[str, Any]:
        """Fetch userinfo as JSON or signed JWT. Its `sub` must be the ID token's (OpenID Connect Core section 5.3)."""
        answer = await self._client.get(facts.userinfo, bearer=access_token)
        if answer.status in (401, 403):
            raise ProviderError("invalid_token")
        found = await self._signed_userinfo(facts, answer.jwt) if answer.jwt else answer.value
        if answer.status != 200 or not isinstance(found, dict):  # noqa: PLR2004 - HTTP
            raise UnreachableError(f"userinfo answers {answer.status}, without a JSON object")
        if found.get("sub") != subject:
            raise InvalidResponseError("userinfo is about another user", claim="sub")
        return found

    async def _signed_userinfo(self, facts: Facts, token: str) -> dict[str, Any]:
        """Verify signed userinfo, which names the provider (`iss`) and this client (`aud`) (section 5.3.2).

        Userinfo that names neither is as good as unsigned userinfo: it came over TLS for our access token, and its
        `sub` is compared. Earlier versions of the standard did not require them.
        """
        form = signed(token)
        _, found = verified(form, await self._source.keys(form.key), facts.userinfo_algorithms)
        audience = found.get("aud", self._config.client_id)
        if found.get("iss", self._issuer) not in (self._issuer, *self._preset.issuers):
            raise InvalidResponseError("userinfo is signed for another issuer", claim="iss")
        if self._config.client_id not in (audience if isinstance(audience, list) else [audience]):
            raise InvalidResponseError("userinfo is signed for another client", claim="aud")
        return found


def _secret(tokens: Mapping[str, Any], name: str) -> str:
    value = tokens.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > TOKEN_MAX or not reading.is_encodable(value):
        raise InvalidResponseError(f"{name} is not a token", claim=name)
    return value
