"""Checks and normalizes the hub's own addresses: the path of `public_url` and `base_path` must agree.

Pure. `public_url = "https://hpc.example.edu/jupyter"` implies the base path `/jupyter/`. Afterwards only `base_path`
has the path, and `public_url` and `internal_url` are origins.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from msgspec.structs import replace

from state.config.tables import Config, GatewayConfig
from state.config.urls import is_web_url

URLS: Final = ("public_url", "internal_url")

Say = Callable[[str, str], None]
"""Report a fault: key, message."""


def one_base_path(config: Config, raw: Mapping[str, Any], say: Say) -> Config:
    """Return the configuration with one base path. `raw`: as written, to distinguish a default from a value."""
    gateway = config.gateway
    table = raw.get("gateway")
    written = isinstance(table, Mapping) and "base_path" in table
    public = _path_of(gateway.public_url)
    if public and not written:
        gateway = replace(gateway, base_path=public)
    for key in URLS:
        path = _path_of(getattr(gateway, key))
        if path and path != gateway.base_path:
            say(
                f"gateway.{key}",
                f"its path {path!r} differs from base_path {gateway.base_path!r}."
                " Make them equal, or remove one of them.",
            )
    return replace(config, gateway=replace(gateway, **{key: _origin(gateway, key) for key in URLS}))


def _path_of(url: str) -> str:
    """Return the path of a URL with a leading and a trailing slash; `""` if it has none or is invalid."""
    inner = urlsplit(url).path.strip("/") if is_web_url(url) else ""
    return f"/{inner}/" if inner else ""


def _origin(gateway: GatewayConfig, key: str) -> str:
    """Return a URL without its path. A query or fragment stays, and is reported elsewhere."""
    url: str = getattr(gateway, key)
    if not is_web_url(url):
        return url
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, "", parts.query, parts.fragment))
