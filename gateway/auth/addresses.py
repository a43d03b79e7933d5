"""The hub's own addresses, as providers have to know them.

Owns: the redirect URI of each provider, and where people are who have signed out. Refuses to know who asks.
"""

from typing import Final

from gateway.auth.oidc.provider import OidcProvider
from state.config.tables import AuthConfig, Config, ProviderConfig

CALLBACK: Final = "oauth_callback"
SIGNED_OUT: Final = "signed-out"


def hub_url(config: Config) -> str:
    """The URL of the hub's pages as browsers see it, with a slash at the end."""
    door = config.gateway
    host = f"[{door.host}]" if ":" in door.host else door.host
    base = door.base_path
    origin = (door.public_url or f"http://{host}:{door.port}").rstrip("/").removesuffix(base.rstrip("/"))
    return f"{origin}{base}hub/"


def callback(config: AuthConfig, provider: ProviderConfig, hub: str) -> str:
    """The redirect URI of a provider: JupyterHub's, or one of its own. `hub`: as `hub_url`."""
    alone = sum(other.kind == provider.kind for other in config.provider) == 1
    said = provider.oidc.plain_callback if provider.oidc is not None else None
    plain = alone if said is None else said
    return back_at(hub, "" if plain else provider.name)


def back_at(hub: str, name: str) -> str:
    """The address that an answer comes back to: JupyterHub's (`""`), or that of the provider of this name."""
    return f"{hub}{CALLBACK}/{name}" if name else f"{hub}{CALLBACK}"


def away(provider: ProviderConfig, config: AuthConfig, hub: str) -> OidcProvider:
    """A provider of kind `oidc`, which signs people in on pages of its own."""
    back = callback(config, provider, hub)
    return OidcProvider(provider, config.provider, redirect_uri=back, signed_out=f"{hub}{SIGNED_OUT}")
