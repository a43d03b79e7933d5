"""Renders the configurations of edges.

Owns the list of edges, the default paths of their certificates, and filling in their templates. The
templates contain the syntax. Values come from `gateway.edge.site`, which rejects values that would need quoting.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gateway.edge.site import EdgeError, EdgeSite

_TEMPLATES: Final = Path(__file__).parent / "templates"


@dataclass(frozen=True, kw_only=True)
class Edge:
    """One kind of edge. `file` is the usual name of its configuration.

    `certificate` and `key` are paths for a host name; empty where the edge obtains certificates by itself, or where one
    file holds both.
    """

    name: str
    title: str
    template: str
    file: str
    certificate: str
    key: str
    http3: bool = False


_LETS_ENCRYPT: Final = "/etc/letsencrypt/live/{host}/fullchain.pem"
_LETS_ENCRYPT_KEY: Final = "/etc/letsencrypt/live/{host}/privkey.pem"

EDGES: Final = {
    edge.name: edge
    for edge in (
        Edge(
            name="nginx",
            title="nginx 1.25.1 or newer",
            template="nginx.j2",
            file="nginx.conf",
            certificate=_LETS_ENCRYPT,
            key=_LETS_ENCRYPT_KEY,
        ),
        Edge(
            name="nginx-1.22",
            title="nginx 1.18 to 1.25.0",
            template="nginx.j2",
            file="nginx-1.22.conf",
            certificate=_LETS_ENCRYPT,
            key=_LETS_ENCRYPT_KEY,
        ),
        Edge(
            name="caddy",
            title="Caddy 2.7 or newer",
            template="caddy.j2",
            file="Caddyfile",
            certificate="",
            key="",
            http3=True,
        ),
        Edge(
            name="envoy",
            title="Envoy 1.32 or newer",
            template="envoy.j2",
            file="envoy.yaml",
            certificate=_LETS_ENCRYPT,
            key=_LETS_ENCRYPT_KEY,
            http3=True,
        ),
        Edge(
            name="haproxy",
            title="HAProxy 2.4 or newer",
            template="haproxy.j2",
            file="haproxy.cfg",
            certificate="/etc/haproxy/{host}.pem",
            key="",
        ),
        Edge(
            name="apache",
            title="Apache httpd 2.4.54 or newer",
            template="apache.j2",
            file="apache.conf",
            certificate=_LETS_ENCRYPT,
            key=_LETS_ENCRYPT_KEY,
        ),
    )
}
"""The edges by name, in the order in which they are listed."""


def find(name: str) -> Edge:
    """Return the edge with this name. Raises EdgeError with a list of all edges."""
    edge = EDGES.get(name)
    if edge is None:
        raise EdgeError(f"There is no edge named {name!r}. Choose one of: {', '.join(EDGES)}.")
    return edge


def render(edge: Edge, site: EdgeSite) -> str:
    """Render the configuration. Raises EdgeError if the edge needs a value that is missing."""
    if not site.certificate and site.user_domain and not edge.certificate:
        raise EdgeError(
            f"{edge.title} cannot obtain a certificate for *.{site.user_domain} by itself."
            " Give --certificate and --key."
        )
    if bool(site.certificate) != bool(site.key) and (edge.key or not edge.certificate):
        raise EdgeError("Give --certificate and --key together.")
    full = site
    if not site.certificate:
        full = replace(site, certificate=edge.certificate.format(host=site.host), key=edge.key.format(host=site.host))
    # Not HTML: there is nothing to escape, and `site` holds only what needs no quoting.
    environment = Environment(  # noqa: S701
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(edge.template).render(edge=edge, site=full)
