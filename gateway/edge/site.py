"""The values from which the configuration of an edge is rendered.

Owns how the hub's configuration is converted to host names, ports, paths and addresses of gateways, and which of them
are valid in a configuration file. Does not know the syntax of any edge.
"""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from state.config.addresses import EVERYWHERE, base_path, in_url
from state.config.tables import Config
from state.errors import TowpathError

HTTPS_PORT: Final = 443
HTTP_PORT: Final = 80
_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
_FILE: Final = re.compile(r"/[A-Za-z0-9._@+/-]+")
_GATEWAY: Final = re.compile(
    r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?):(?P<port>[0-9]{1,5})"
)
_PORT_MAX: Final = 65535


class EdgeError(TowpathError):
    """No edge can be configured with these values."""


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """Where the edge reaches a gateway. `host` is a name, or an address without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{in_url(self.host)}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class EdgeSite:
    """One hub as its edge serves it.

    `certificate` empty: the edge's own default. `address` empty: all addresses of the machine, IPv4 and IPv6.
    `redirect_port` 0: nothing listens for plain HTTP.
    """

    host: str
    port: int
    base_path: str
    gateways: tuple[Gateway, ...]
    user_domain: str = ""
    certificate: str = ""
    key: str = ""
    address: str = ""
    redirect_port: int = HTTP_PORT

    @property
    def names(self) -> tuple[str, ...]:
        """The host names that the edge serves; the second, if any, is a wildcard."""
        return (self.host, f"*.{self.user_domain}") if self.user_domain else (self.host,)

    @property
    def port_suffix(self) -> str:
        """What follows the host in a URL of the hub."""
        return "" if self.port == HTTPS_PORT else f":{self.port}"

    @property
    def origin(self) -> str:
        """The hub's own origin."""
        return f"https://{self.host}{self.port_suffix}"


def gateway(raw: str) -> Gateway:
    """Read HOST:PORT. Raises EdgeError."""
    found = _GATEWAY.fullmatch(raw)
    if found is None or not 0 < int(found["port"]) <= _PORT_MAX:
        raise EdgeError(f"{raw!r} is not the address of a gateway. Write HOST:PORT, such as 10.0.0.5:8000.")
    return Gateway(host=found["host"].strip("[]"), port=int(found["port"]))


def edge_site(
    config: Config,
    *,
    certificate: str = "",
    key: str = "",
    address: str = "",
    redirect_port: int = HTTP_PORT,
    gateways: tuple[Gateway, ...] = (),
) -> EdgeSite:
    """Derive the site from the hub's configuration. `gateways` empty: the one that the configuration describes.

    Raises EdgeError.
    """
    hub = config.gateway
    public = urlsplit(hub.public_url)
    if public.scheme != "https" or not public.hostname:
        raise EdgeError(
            "[gateway] public_url is not an https URL. Set it to the address that browsers use,"
            " such as https://hub.example.org."
        )
    if not _HOST.fullmatch(public.hostname):
        raise EdgeError(f"[gateway] public_url has the host {public.hostname!r}. An edge needs a DNS name.")
    for name, file in (("certificate", certificate), ("key", key)):
        if file and not _FILE.fullmatch(file):
            raise EdgeError(
                f"The {name}'s path {file!r} contains characters that a configuration file cannot contain."
                " Use an absolute path of letters, digits and . _ @ + - /."
            )
    if address:
        try:
            ip_address(address)
        except ValueError as error:
            raise EdgeError(f"{address!r} is not an IP address to listen on.") from error
    own = Gateway(host=EVERYWHERE.get(hub.host, hub.host), port=hub.port)
    return EdgeSite(
        host=public.hostname,
        port=public.port or HTTPS_PORT,
        base_path=base_path(config),
        gateways=gateways or (own,),
        user_domain=hub.user_domain,
        certificate=certificate,
        key=key,
        address=address,
        redirect_port=redirect_port,
    )
