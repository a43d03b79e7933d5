"""The hub's own addresses in a configuration: the path of `public_url` and `base_path` are one thing.

Pure. `public_url = "https://hpc.example.edu/jupyter"` says by itself that the base path is `/jupyter/`. From here on
the path is in `base_path` alone: `public_url` and `internal_url` are an origin.
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
    """The configuration with one base path. `raw`: as it was written, to tell a default from a value."""
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
                f"its path {path!r} and the base path {gateway.base_path!r} differ, and they are one thing:"
                " make them equal, or leave one of them away.",
            )
    return replace(config, gateway=replace(gateway, **{key: _origin(gateway, key) for key in URLS}))


def _path_of(url: str) -> str:
    """The path of a URL, with a slash at both ends; `""`: it has none, or is not one."""
    inner = urlsplit(url).path.strip("/") if is_web_url(url) else ""
    return f"/{inner}/" if inner else ""


def _origin(gateway: GatewayConfig, key: str) -> str:
    """A URL without its path. One with a query or a fragment stays as it is, and is a fault elsewhere."""
    url: str = getattr(gateway, key)
    if not is_web_url(url):
        return url
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, "", parts.query, parts.fragment))
