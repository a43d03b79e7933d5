"""`towpath edge NAME`: write the configuration of an edge proxy for this hub."""

import argparse
import sys

from gateway.edge.rendering import find, render
from gateway.edge.site import EdgeError, EdgeSite, edge_site, gateway
from state.config.tables import Config
from state.config.urls import is_loopback
from state.errors import UsageError
from state.settings.loader import load


def run(options: argparse.Namespace) -> int:
    """Print the configuration on stdout, and further steps on stderr."""
    try:
        edge = find(options.edge)
        config = load(options.config, options.data_dir).config
        site = edge_site(
            config,
            certificate=options.certificate,
            key=options.key,
            address=options.address,
            redirect_port=options.redirect_port,
            gateways=tuple(gateway(each) for each in options.gateway),
        )
        text = render(edge, site)
    except EdgeError as error:
        raise UsageError(str(error)) from error
    print(text, end="")
    for hint in hints(config, site):
        print(f"towpath: {hint}", file=sys.stderr)
    return 0


def hints(config: Config, site: EdgeSite) -> list[str]:
    """Return what the hub's own configuration lacks for this edge."""
    found = []
    if not config.gateway.trusted_proxies:
        local = all(is_loopback(each.host) for each in site.gateways)
        example = "127.0.0.1" if local else "10.0.0.7"
        found.append(
            "The hub does not know the addresses of its users yet. In towpath.toml, set under [gateway]:"
            f' trusted_proxies = ["{example}"]' + ("" if local else " (the edge's own address).")
        )
    if any(not is_loopback(each.host) for each in site.gateways):
        found.append("The edge speaks to the gateway without TLS. Keep that network private.")
    return found
