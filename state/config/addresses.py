"""The hub's addresses as URLs, for browsers and for jobs.

Owns which configured address is for whom. Pure. Does not know what is sent there.
"""

from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from state.config.tables import Config
from state.names import REPORTS_NAME

EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}
"""Wildcard addresses → the loopback address through which the machine reaches them."""


def base_path(config: Config) -> str:
    """Return the hub's base path with a slash at both ends."""
    inner = config.gateway.base_path.strip("/")
    return f"/{inner}/" if inner else "/"


def in_url(host: str) -> str:
    """Return a host as it is written in a URL."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def own_url(config: Config) -> str:
    """Return the gateway's own address for clients on this machine, without a path."""
    gateway = config.gateway
    return f"http://{in_url(EVERYWHERE.get(gateway.host, gateway.host))}:{gateway.port}"


def origin_of_url(url: str) -> str:
    """Return scheme, host and port of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def public_url(config: Config) -> str:
    """Return the address that browsers use, without the base path."""
    configured = config.gateway.public_url.rstrip("/").removesuffix(base_path(config).rstrip("/"))
    return configured or own_url(config)


def api_url(config: Config, *, elsewhere: bool) -> str:
    """Return the URL of the API for apps in jobs: `internal_url`, else the public or the gateway's own address.

    `elsewhere`: the app runs on another machine, which cannot use the gateway's own. The listener for reports is not
    used, because apps do not trust the hub's own certificate authority.
    """
    gateway = config.gateway
    if gateway.internal_url:
        place = gateway.internal_url.rstrip("/")
    else:
        place = public_url(config) if elsewhere else own_url(config)
    return f"{place}{base_path(config)}hub/api"


def report_names(config: Config, machine: Iterable[str]) -> tuple[str, ...]:
    """Return the names and addresses under which jobs may reach the listener for reports, for its certificate.

    `machine`: the names of the machine, for a listener on all of its addresses.
    """
    gateway = config.gateway
    hosts = [urlsplit(gateway.internal_url).hostname or "", gateway.report_host, gateway.host]
    if {*EVERYWHERE} & {gateway.report_host or gateway.host}:
        hosts += ["127.0.0.1", *machine]
    named = [host.strip("[]") for host in hosts]
    return tuple(dict.fromkeys([REPORTS_NAME, *(host for host in named if host not in EVERYWHERE)]))
