"""The checks of sign-in providers in `towpath check`, which try no user's password. Each kind brings its own."""

import asyncio
from importlib import import_module

from gateway.auth.addresses import hub_url
from gateway.auth.contract import Probed
from gateway.serve.findings import Finding
from state.config.tables import AuthConfig, ProviderConfig
from state.plugins.authenticators import kind_of
from state.settings.loader import Settings


async def probe(settings: Settings) -> list[Finding]:
    """Return the findings of every provider that can be checked without a user's sign-in."""
    auth = settings.config.auth
    if auth is None:
        return []
    hub = hub_url(settings.config)
    rows = await asyncio.gather(*(_probe(provider, auth, hub) for provider in auth.provider))
    return [finding for found in rows for finding in found]


async def _probe(provider: ProviderConfig, auth: AuthConfig, hub: str) -> list[Finding]:
    module, _, name = kind_of(provider).probe.partition(":")
    if not module:
        return []
    found: list[Probed] = await getattr(import_module(module), name)(provider, auth, hub)
    part = f"sign-in {provider.name}"
    return [Finding(part, good=one.good, text=one.text, doubt=one.doubt, passing=one.passing) for one in found]
