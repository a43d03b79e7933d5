"""Where the hub is found: its addresses as URLs, for browsers and for jobs.

Owns: which of the configured addresses is for whom. Pure. Refuses to know what is said there.
"""

from typing import Final

from state.config.tables import Config

EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}
"""Addresses that stand for all of a machine's → the one at which it finds itself."""


def base_path(config: Config) -> str:
    """The hub's base path with a slash at both ends."""
    inner = config.gateway.base_path.strip("/")
    return f"/{inner}/" if inner else "/"


def in_url(host: str) -> str:
    """A host as it stands in an URL."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def own_url(config: Config) -> str:
    """The gateway's own address as this machine reaches it, without a path."""
    gateway = config.gateway
    return f"http://{in_url(EVERYWHERE.get(gateway.host, gateway.host))}:{gateway.port}"


def public_url(config: Config) -> str:
    """The address that browsers use, without the base path."""
    given = config.gateway.public_url.rstrip("/").removesuffix(base_path(config).rstrip("/"))
    return given or own_url(config)


def api_url(config: Config, *, elsewhere: bool) -> str:
    """The API as a job's app calls it: `internal_url`, else on another machine the public one, else the gateway's own.

    The listener for reports is not for it: apps know the public authorities, and not the hub's own.
    """
    gateway = config.gateway
    if gateway.internal_url:
        place = gateway.internal_url.rstrip("/")
    else:
        place = public_url(config) if elsewhere else own_url(config)
    return f"{place}{base_path(config)}hub/api"
