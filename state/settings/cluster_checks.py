"""Checks `[[cluster]]`, and whether its servers are isolated from each other. A kind checks its own options.

Pure. Checks the tables only. Whether a cluster can be reached is for the controller to find out.
"""

from urllib.parse import urlsplit

from state.config.ports import FIRST_PORT, LAST_PORT, port_range
from state.config.tables import ClusterConfig, Config, GatewayConfig
from state.config.urls import is_loopback
from state.plugins.entry_points import PluginError
from state.plugins.launchers import LauncherKind, adapted, find_kind, kind_names, options_of, ways_in_of
from state.plugins.options import Say, has_required


def check(config: Config, say: Say) -> None:
    """Report all errors in [[cluster]]."""
    names = [cluster.name for cluster in config.cluster]
    if not names:
        say("cluster", "there must be at least one [[cluster]].")
    for name in sorted({name for name in names if names.count(name) > 1}):
        say("cluster", f"the name {name!r} is used twice.")
    for number, cluster in enumerate(config.cluster, 1):
        kind = _kind(cluster, f"cluster[{number}].kind", say)
        if kind is None:
            continue
        if not kind.runs_here and not _private_reports(config.gateway, shared_loopback=kind.one_machine):
            over = "a port that any user of this machine could take" if kind.one_machine else "the network"
            say(
                "gateway.report_port",
                f"jobs of {cluster.name!r} report over {over}, which needs TLS. Set report_host and"
                " report_port, or an internal_url that begins with https://.",
            )
        if cluster.options is None and has_required(kind.options):
            continue  # a key is missing or faulty, and has been reported
        _way_in(cluster, kind, f"cluster[{number}]", say)
        _isolation(cluster, kind, config, f"cluster[{number}].isolation", say)
        kind.check(options_of(cluster), f"cluster[{number}].{cluster.kind}", say)


def _kind(cluster: ClusterConfig, key: str, say: Say) -> LauncherKind | None:
    try:
        kind = find_kind(cluster.kind)
    except PluginError as error:
        say(key, str(error))
        return None
    if kind is None:
        known = kind_names()
        if not known:
            say(key, "this installation of Towpath has no kinds of cluster. Reinstall it.")
        else:
            say(key, f"{cluster.kind!r} is not a kind of cluster. Use one of: {', '.join(known)}.")
    return None if kind is None else adapted(kind, cluster)


def _way_in(cluster: ClusterConfig, kind: LauncherKind, at: str, say: Say) -> None:
    """Reject a way in that the kind does not have, and ports that nothing listens on."""
    ways = ways_in_of(kind)
    if cluster.way_in and cluster.way_in not in ways:
        say(f"{at}.way_in", f"{cluster.way_in!r} is not a way in to a {cluster.kind} cluster. Use {' or '.join(ways)}.")
    if not cluster.direct_ports:
        return
    if (cluster.way_in or ways[0]) != "direct":
        say(f"{at}.direct_ports", 'this is used only with way_in = "direct". Remove it.')
    elif port_range(cluster.direct_ports) is None:
        say(
            f"{at}.direct_ports",
            f"{cluster.direct_ports!r} is not a range of ports from {FIRST_PORT} to {LAST_PORT}, such as 40000-40100.",
        )


def _isolation(cluster: ClusterConfig, kind: LauncherKind, config: Config, key: str, say: Say) -> None:
    """Reject servers of several users under one account, unless the configuration accepts that."""
    shared = kind.shared_account(options_of(cluster))
    if cluster.isolation not in ("", "none"):
        say(key, f'{cluster.isolation!r} is not a known value. Set it to "none" or remove it.')
    elif cluster.isolation and not shared:
        say(key, f"a cluster of kind {cluster.kind} runs each server as its user. Remove this key.")
    elif not cluster.isolation and config.auth is not None and shared:
        say(
            key,
            f"servers on the cluster {cluster.name!r} run under the hub's own account. With [auth], every user could"
            f" read the files of all others and the hub's own data, and act as any user. {kind.isolation_advice}, or"
            ' accept this with isolation = "none".',
        )


def _private_reports(gateway: GatewayConfig, *, shared_loopback: bool) -> bool:
    """Return whether nobody can read a job's report token: https, or within this machine.

    `shared_loopback`: other users have processes here, which can listen on the hub's port while the hub is down.
    """
    if not gateway.internal_url and gateway.report_port:
        return True
    parts = urlsplit(gateway.internal_url)
    return parts.scheme == "https" or (not shared_loopback and is_loopback(parts.hostname or gateway.host))
