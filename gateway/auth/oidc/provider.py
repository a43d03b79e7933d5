"""A provider of kind `oidc` as the hub's sign-in sees it (`gateway.auth.proof.Away`).

Owns: its parts put together, and from what it says to what it proves: name, groups, whether its rules let somebody in.
Refuses to know sessions, records and the rules of [auth].
"""

from collections.abc import Mapping
from typing import Any

from gateway.auth.naming import hub_name, shown
from gateway.auth.oidc import claims as reading
from gateway.auth.oidc.door import Client, Seal
from gateway.auth.oidc.engine import Engine, Told
from gateway.auth.oidc.errors import AwayError, ProviderError, UnbelievableError
from gateway.auth.oidc.presets import PRESETS
from gateway.auth.oidc.words import refusal
from gateway.auth.proof import Proven
from portal.auth import Provider, RefusedError
from state.config import OidcConfig, ProviderConfig
from state.records import Flow


class OidcProvider:
    """One [[auth.provider]] of kind `oidc`."""

    def __init__(self, config: ProviderConfig, everybody: tuple[ProviderConfig, ...], redirect_uri: str) -> None:
        """`everybody`: all providers. `redirect_uri`: where this one sends people back to."""
        given = config.oidc or OidcConfig()
        preset = PRESETS[given.preset]
        self.config = config
        self.given = given
        self.preset = preset
        self.redirect_uri = redirect_uri
        self.title = config.title or preset.title
        self.shown = Provider(name=config.name, title=self.title, note=config.note, form="link")
        self.seal = Seal(given.client_id, given.client_secret)
        self._everybody = everybody
        self._table = {name.lower(): here for name, here in config.names.items()}
        self._client = Client(
            client_id=given.client_id,
            client_secret=given.client_secret,
            auth_method=given.client_auth,
            timeout=given.timeout,
            ca_file=given.ca_file,
            proxy=given.proxy,
        )
        self._engine = Engine(given, preset, self._client)

    async def prove(self, fields: Mapping[str, str], request: Any) -> Proven:  # noqa: ARG002
        """No form proves anything here. Raises RefusedError."""
        raise RefusedError(f"Use the button of {self.title}.")

    async def depart(self, browser: str, next_url: str) -> tuple[str, str, Flow]:
        """See `Engine.depart`. Raises RefusedError."""
        try:
            return await self._engine.depart(
                name=self.config.name, browser=browser, redirect_uri=self.redirect_uri, next_url=next_url
            )
        except (AwayError, ProviderError, UnbelievableError) as error:
            raise refusal(error, self.title) from error

    async def arrive(self, flow: Flow, answer: Mapping[str, str]) -> tuple[Told, Proven]:
        """Who has come back. Raises RefusedError."""
        try:
            told = await self._engine.arrive(flow, answer)
        except (AwayError, ProviderError, UnbelievableError) as error:
            raise refusal(error, self.title) from error
        return told, self.proven(told)

    def proven(self, told: Told) -> Proven:
        """What follows for the hub from what the provider says. Raises RefusedError."""
        given, found = self.given, told.claims
        name_claim = given.name_claim or self.preset.name_claim
        groups_claim = given.groups_claim or self.preset.groups_claim
        raw = reading.text(found, name_claim)
        if raw and name_claim == "email" and not reading.verified_email(found):
            raise RefusedError(
                f"{self.title} has not verified that {shown(raw)} is your address, so it cannot be your name here.",
                hint="Verify it there, then sign in again.",
            )
        name = hub_name(raw, self.config, self._everybody, self._table)
        if not reading.matches(found, given.required_claims):
            raise RefusedError(
                f"You are signed in as {shown(raw)}, and accounts of that kind may not enter this hub.",
                hint="Sign in with another account, or ask the people who run this hub.",
            )
        if reading.too_many(found, groups_claim):
            raise RefusedError(
                f"You are in more groups than {self.title} names at once, so your rights here are not known.",
                hint="Tell the people who run this hub: the provider should name only the groups that matter here.",
            )
        return Proven(
            name=name,
            groups=reading.groups(found, groups_claim) if groups_claim else None,
            admin=any(reading.matches(found, {path: values}) for path, values in given.admin_claims.items()),
            allowed=any(reading.matches(found, {path: values}) for path, values in given.allowed_claims.items()),
            shown=shown(raw),
        )

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()
