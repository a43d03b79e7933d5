"""The hub's own URLs that are registered at providers. Does not know about requests."""

from typing import Final

from state.config.tables import Config

CALLBACK: Final = "oauth_callback"


def hub_url(config: Config) -> str:
    """Return the public URL of the hub's pages, with a slash at the end."""
    door = config.gateway
    host = f"[{door.host}]" if ":" in door.host else door.host
    base = door.base_path
    origin = (door.public_url or f"http://{host}:{door.port}").rstrip("/").removesuffix(base.rstrip("/"))
    return f"{origin}{base}hub/"


def callback_url(hub: str, name: str) -> str:
    """Return the redirect URI for a provider's name; `""`: JupyterHub's redirect URI."""
    return f"{hub}{CALLBACK}/{name}" if name else f"{hub}{CALLBACK}"
