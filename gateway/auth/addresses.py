"""The hub's own URLs that are registered at providers.

Owns the redirect URI of each provider, and the page that is shown after signing out. Does not know about requests.
"""

from typing import TYPE_CHECKING, Final

from state.config.tables import AuthConfig, Config, ProviderConfig

if TYPE_CHECKING:
    from gateway.auth.oidc.provider import OidcProvider

CALLBACK: Final = "oauth_callback"
SIGNED_OUT: Final = "signed-out"


def hub_url(config: Config) -> str:
    """Return the public URL of the hub's pages, with a slash at the end."""
    door = config.gateway
    host = f"[{door.host}]" if ":" in door.host else door.host
    base = door.base_path
    origin = (door.public_url or f"http://{host}:{door.port}").rstrip("/").removesuffix(base.rstrip("/"))
    return f"{origin}{base}hub/"


def callback(config: AuthConfig, provider: ProviderConfig, hub: str) -> str:
    """Return the redirect URI of a provider: JupyterHub's, or one with the provider's name. `hub`: see `hub_url`."""
    only_one = sum(other.kind == provider.kind for other in config.provider) == 1
    configured = provider.oidc.plain_callback if provider.oidc is not None else None
    plain = only_one if configured is None else configured
    return callback_url(hub, "" if plain else provider.name)


def callback_url(hub: str, name: str) -> str:
    """Return the redirect URI for a provider's name; `""`: JupyterHub's redirect URI."""
    return f"{hub}{CALLBACK}/{name}" if name else f"{hub}{CALLBACK}"


def oidc_provider(provider: ProviderConfig, config: AuthConfig, hub: str) -> "OidcProvider":
    """Create a provider of kind `oidc`, which signs users in on its own pages. `hub`: see `hub_url`."""
    from gateway.auth.oidc.provider import OidcProvider  # noqa: PLC0415 - 300 ms that other hubs save

    back = callback(config, provider, hub)
    return OidcProvider(provider, config.provider, redirect_uri=back, signed_out=f"{hub}{SIGNED_OUT}")
