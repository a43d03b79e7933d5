"""Where the hub is found: its addresses as URLs, for browsers and for jobs.

Owns: which of the configured addresses is for whom. Pure. Refuses to know what is said there.
"""

from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from state.config.tables import Config
from state.names import REPORTS_NAME

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


def origin_of_url(url: str) -> str:
    """Scheme, host and port of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


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


def report_names(config: Config, machine: Iterable[str]) -> tuple[str, ...]:
    """The names and addresses under which jobs may reach the listener for reports: its certificate has them all.

    `machine`: the names of the machine on which it listens, for a listener on all of its addresses.
    """
    gateway = config.gateway
    hosts = [urlsplit(gateway.internal_url).hostname or "", gateway.report_host, gateway.host]
    if {*EVERYWHERE} & {gateway.report_host or gateway.host}:
        hosts += ["127.0.0.1", *machine]
    named = [host.strip("[]") for host in hosts]
    return tuple(dict.fromkeys([REPORTS_NAME, *(host for host in named if host not in EVERYWHERE)]))
