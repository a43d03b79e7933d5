"""Checks for `towpath check` whether a provider can be reached and is set up correctly.

Owns the requests and the messages. Does not print them, and signs nobody in.
"""

from gateway.auth.contract import Probed
from gateway.auth.oidc.errors import InvalidResponseError, UnreachableError
from gateway.auth.oidc.opening import opened
from gateway.auth.oidc.presets import PRESETS
from gateway.auth.oidc.protocol import ALGORITHMS
from gateway.auth.oidc.provider import OidcProvider
from state.config.tables import AuthConfig, ProviderConfig


async def probe(provider: ProviderConfig, auth: AuthConfig, hub_url: str) -> list[Probed]:
    """Read the provider's metadata and keys."""
    client = opened(provider, auth, hub_url)
    try:
        good, text = await _look(client)
    finally:
        await client.close()
    return [Probed(good=good, text=text, passing=True)]


async def _look(provider: OidcProvider) -> tuple[bool, str]:
    """Return whether the provider is usable, and a message: what to register there, or what is wrong."""
    engine, preset = provider.engine, PRESETS[provider.oidc.preset]
    try:
        facts = await engine.facts()
        keys = await engine.keys()
    except UnreachableError as error:
        return False, f"does not answer: {error}"
    except InvalidResponseError as error:
        return False, f"answers, but cannot be used: {error}"
    notes = [f"redirect URI to register: {provider.redirect_uri}"]
    if preset.openid:
        usable = sorted({key.algorithm or "?" for key in keys})
        if not keys:
            return False, f"answers, but publishes no key that this hub can use ({', '.join(ALGORITHMS)})"
        notes.insert(0, f"{facts.issuer} answers, {len(keys)} keys ({', '.join(usable)})")
        if facts.end_session and provider.oidc.sign_out:
            notes.append(f"address after signing out: {provider.signed_out}")
        if facts.backchannel:
            hub = provider.signed_out.rpartition("/")[0]
            notes.append(f"back-channel logout: {hub}/backchannel-logout/{provider.config.name}")
        if facts.challenges and "S256" not in facts.challenges:
            notes.append("its metadata does not list PKCE (S256)")
    else:
        notes.insert(0, f"{facts.issuer} comes from the preset and was not contacted")
    if provider.config.allow_all and preset.public and not provider.oidc.required_claims:
        notes.append("anyone in the world with an account there can sign in")
    return True, "; ".join(notes)
