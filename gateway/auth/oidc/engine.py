"""The way to a provider and back: the authorization code flow, with every check that makes its end believable.

Owns: the order of the steps. Refuses to know names on the hub, sessions and who may enter.

    depart → the provider → arrive: state (`gateway.auth.oidc.flow`) → iss → code for tokens → ID token → claims

Sources: OpenID Connect Core 1.0 sections 3.1 and 12, RFC 6749 section 4.1, RFC 7636, RFC 9207 (mix-up), RFC 9700.
"""

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from gateway.auth.oidc import claims as reading
from gateway.auth.oidc.discovery import Discovery, Facts
from gateway.auth.oidc.door import Client, check_id_token, key_id, verified
from gateway.auth.oidc.errors import AwayError, ProviderError, UnbelievableError
from gateway.auth.oidc.presets import Preset
from state.config import OidcConfig
from state.records import Flow

TOKEN_MAX: Final = 16 * 1024
SUBJECT_MAX: Final = 255
CODE_MAX: Final = 4096


class Told(Struct, frozen=True, kw_only=True):
    """What a provider has said of somebody, believed. `refresh_token` and `id_token` empty: it gave none."""

    subject: str
    claims: dict[str, Any]
    refresh_token: str = ""
    access_token: str = ""
    id_token: str = ""
    sid: str = ""


class Engine:
    """One provider, for one worker. Its verbs raise AwayError, ProviderError and UnbelievableError."""

    def __init__(
        self, config: OidcConfig, preset: Preset, client: Client, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._config = config
        self._preset = preset
        self._client = client
        self._clock = clock
        self._issuer = config.issuer or preset.issuer
        self._discovery = Discovery(client, self._issuer)
        self._wanted = tuple(
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
        """The provider's endpoints."""
        return await self._discovery.facts()

    async def depart(self, *, name: str, browser: str, redirect_uri: str, next_url: str) -> tuple[str, str, Flow]:
        """Where the browser goes, the `state` that comes back, and what the answer is checked against."""
        facts = await self.facts()
        state, nonce, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(48)
        config, preset = self._config, self._preset
        hints = {
            parameter: ",".join(config.required_claims[path])
            for parameter, path in preset.hints
            if config.required_claims.get(path)
        }
        url = self._client.leave_for(
            facts.authorize,
            state=state,
            verifier=verifier,
            redirect_uri=redirect_uri,
            scope=" ".join(config.scopes or preset.scopes),
            nonce=nonce,
            **{**hints, **dict(preset.extra), **config.parameters},
        )
        flow = Flow(
            provider=name,
            browser=browser,
            nonce=nonce,
            verifier=verifier,
            redirect_uri=redirect_uri,
            created=self._clock(),
            next=next_url,
        )
        return url, state, flow

    async def arrive(self, flow: Flow, answer: Mapping[str, str]) -> Told:
        """What the provider's answer is worth. The flow was this browser's and has been taken."""
        facts = await self.facts()
        issuer = answer.get("iss")
        if (issuer is None and facts.says_issuer) or (issuer is not None and issuer != self._issuer):
            raise UnbelievableError(f"the answer is of {issuer!r:.200}, not of {self._issuer!r}", claim="iss")
        if "error" in answer:
            raise ProviderError(answer["error"], answer.get("error_description", ""))
        code = answer.get("code", "")
        if not code or len(code) > CODE_MAX:
            raise UnbelievableError("the answer holds no code")
        tokens = await self._client.exchange(
            facts.token, code=code, verifier=flow.verifier, redirect_uri=flow.redirect_uri
        )
        return await self._believe(facts, tokens, nonce=flow.nonce, subject="")

    async def again(self, *, subject: str, refresh_token: str) -> Told:
        """Ask whether somebody still is who they were; their new tokens, and what is said of them now."""
        facts = await self.facts()
        tokens = await self._client.refresh(facts.token, refresh_token)
        return await self._believe(facts, tokens, nonce="", subject=subject)

    async def _believe(self, facts: Facts, tokens: Mapping[str, Any], *, nonce: str, subject: str) -> Told:
        """`subject` empty: a sign-in, which must bring an ID token; else it must be theirs."""
        access, refresh, token = (_secret(tokens, name) for name in ("access_token", "refresh_token", "id_token"))
        found: dict[str, Any] = {}
        if token:
            found = await self._claims(facts, token, nonce=nonce, access_token=access)
        elif not subject:
            raise UnbelievableError("the token endpoint gave no ID token", claim="id_token")
        own = subject or str(found.get("sub", ""))
        if not 0 < len(own) <= SUBJECT_MAX or (token and found.get("sub") != own):
            raise UnbelievableError("the ID token is somebody else's", claim="sub")
        if facts.userinfo and access and (reading.missing(found, self._wanted) or not token):
            found = {**await self._userinfo(facts, access, own), **found}
        return Told(
            subject=own,
            claims=found,
            refresh_token=refresh,
            access_token=access,
            id_token=token,
            sid=reading.text(found, "sid"),
        )

    async def _claims(self, facts: Facts, token: str, *, nonce: str, access_token: str) -> dict[str, Any]:
        keys = await self._discovery.keys(key_id(token))
        header, found = verified(token, keys, facts.algorithms)
        check_id_token(
            header,
            found,
            issuers=(self._issuer, *self._preset.issuers),
            client_id=self._config.client_id,
            nonce=nonce,
            access_token=access_token,
            now=self._clock(),
            leeway=self._config.leeway,
        )
        return found

    async def _userinfo(self, facts: Facts, access_token: str, subject: str) -> dict[str, Any]:
        """OpenID Connect Core section 5.3: its `sub` must be the ID token's."""
        answer = await self._client.get(facts.userinfo, bearer=access_token)
        if answer.status in (401, 403):
            raise ProviderError("invalid_token")
        if answer.status != 200 or not isinstance(answer.value, dict):  # noqa: PLR2004 - HTTP
            raise AwayError(f"userinfo answers {answer.status}")
        if answer.value.get("sub") != subject:
            raise UnbelievableError("userinfo is somebody else's", claim="sub")
        return answer.value


def _secret(tokens: Mapping[str, Any], name: str) -> str:
    value = tokens.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > TOKEN_MAX:
        raise UnbelievableError(f"{name} is no token", claim=name)
    return value
