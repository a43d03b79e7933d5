"""Opens a provider of kind `oidc`, with the hub's URLs that are registered there."""

from typing import Final

from gateway.auth.addresses import callback_url
from gateway.auth.kinds.oidc import OidcConfig
from gateway.auth.oidc.provider import OidcProvider
from gateway.auth.proof import ProofContext
from state.config.tables import AuthConfig, ProviderConfig

SIGNED_OUT: Final = "signed-out"


def open_oidc(provider: ProviderConfig, context: ProofContext) -> OidcProvider:
    """Return the provider, which signs users in on its own pages."""
    return opened(provider, context.auth, context.hub_url)


def opened(provider: ProviderConfig, auth: AuthConfig, hub_url: str) -> OidcProvider:
    """Return the provider. `hub_url`: see `gateway.auth.addresses`."""
    back = redirect_uri(auth, provider, hub_url)
    return OidcProvider(provider, auth.provider, redirect_uri=back, signed_out=f"{hub_url}{SIGNED_OUT}")


def redirect_uri(auth: AuthConfig, provider: ProviderConfig, hub_url: str) -> str:
    """Return the redirect URI of a provider: JupyterHub's, or one with the provider's name."""
    only_one = sum(other.kind == provider.kind for other in auth.provider) == 1
    configured = (provider.options or OidcConfig()).plain_callback
    plain = only_one if configured is None else configured
    return callback_url(hub_url, "" if plain else provider.name)
