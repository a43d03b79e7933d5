"""Checks `[[cluster]]`, and whether its servers are isolated from each other.

Pure. Checks the tables only. Whether a cluster can be reached is for the controller to find out.
"""

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from state.config.tables import ClusterConfig, Config, GatewayConfig, SlurmConfig, SshConfig
from state.config.urls import is_loopback

CLUSTER_KINDS: Final = ("local", "slurm", "ssh")
SHARED_ACCOUNT: Final = ("local",)
"""Kinds of cluster that run all servers under the hub's own account."""
SLURM_CLIENTS: Final = ("cli", "rest", "pyslurm")
SUBMIT_AS: Final = ("setuid", "sudo")
PLAIN_PATH: Final = re.compile(r"/[^\0\n]*")
SAFE_PATH: Final = re.compile(r"/[A-Za-z0-9/._+-]*")

Say = Callable[[str, str], None]
"""Report a fault: key, message."""


def check(config: Config, say: Say) -> None:
    """Report all errors in [[cluster]]."""
    names = [cluster.name for cluster in config.cluster]
    if not names:
        say("cluster", "there must be at least one [[cluster]].")
    for name in sorted({name for name in names if names.count(name) > 1}):
        say("cluster", f"the name {name!r} is used twice.")
    for number, cluster in enumerate(config.cluster, 1):
        if cluster.kind not in CLUSTER_KINDS:
            say(
                f"cluster[{number}].kind",
                f"{cluster.kind!r} is not a kind of cluster. Use one of: {', '.join(CLUSTER_KINDS)}.",
            )
            continue
        _isolation(cluster, config, f"cluster[{number}].isolation", say)
        if cluster.kind != "local" and not _private_reports(config.gateway):
            say(
                "gateway.report_port",
                f"jobs of {cluster.name!r} report over the network, which needs TLS. Set report_host and"
                " report_port, or an internal_url that begins with https://.",
            )
        if cluster.kind == "slurm":
            _slurm(cluster.slurm, f"cluster[{number}].slurm", say)
        elif cluster.slurm != SlurmConfig():
            say(f"cluster[{number}].slurm", f"a cluster of kind {cluster.kind} has no such table. Remove it.")
        if cluster.kind == "ssh":
            _ssh(cluster.ssh, f"cluster[{number}].ssh", say)
        elif cluster.ssh != SshConfig():
            say(f"cluster[{number}].ssh", f"a cluster of kind {cluster.kind} has no such table. Remove it.")


def _isolation(cluster: ClusterConfig, config: Config, key: str, say: Say) -> None:
    """Reject servers of several users under one account, unless the configuration accepts that."""
    if cluster.isolation not in ("", "none"):
        say(key, f'{cluster.isolation!r} is not a known value. Set it to "none" or remove it.')
    elif cluster.isolation and cluster.kind not in SHARED_ACCOUNT:
        say(key, f"a cluster of kind {cluster.kind} runs each server as its user. Remove this key.")
    elif not cluster.isolation and config.auth is not None and cluster.kind in SHARED_ACCOUNT:
        say(
            key,
            f"servers on the cluster {cluster.name!r} run under the hub's own account. With [auth], every user could"
            " read the files of all others and the hub's own data, and act as any user. Use a cluster that runs"
            ' servers as their users, such as slurm, or accept this with isolation = "none".',
        )


def without_isolation(config: Config) -> list[ClusterConfig]:
    """Return the clusters on which users of this hub could read each other's files and the hub's data."""
    return [one for one in config.cluster if config.auth is not None and one.kind in SHARED_ACCOUNT]


def no_isolation(cluster: ClusterConfig) -> str:
    """Return a warning about missing isolation for the admin."""
    return (
        f"No isolation: servers on {cluster.name} run under the hub's own account."
        " Every user can read the files of all others and the hub's own data, and act as any user."
    )


def _slurm(slurm: SlurmConfig, at: str, say: Say) -> None:
    """Check that the settings for Slurm fit together and are complete."""
    if slurm.client not in SLURM_CLIENTS:
        say(f"{at}.client", f"{slurm.client!r} is not a client for Slurm. Use one of: {', '.join(SLURM_CLIENTS)}.")
        return
    if slurm.submit_as not in SUBMIT_AS:
        say(f"{at}.submit_as", f"{slurm.submit_as!r} is not a way to submit. Use one of: {', '.join(SUBMIT_AS)}.")
    elif slurm.submit_as != "setuid" and slurm.client != "cli":
        say(f"{at}.submit_as", f"only the client cli can submit with {slurm.submit_as}.")
    if slurm.client == "rest":
        _rest(slurm, at, say)
    for key in ("rest_url", "rest_key_file", "rest_token_file"):
        if slurm.client != "rest" and getattr(slurm, key):
            say(f"{at}.{key}", f"the client {slurm.client} does not use this. Remove it.")
    for key in ("conf", "bin_dir", "python", "rest_key_file", "rest_token_file"):
        value = getattr(slurm, key)
        if (value or key == "python") and not PLAIN_PATH.fullmatch(value):
            say(f"{at}.{key}", f"{value!r} is not an absolute path. It must begin with /.")
    if slurm.node_folder and not PLAIN_PATH.fullmatch(slurm.node_folder.removeprefix("~")):
        say(f"{at}.node_folder", "this must be an absolute path, or begin with ~/ (the home of the job's user).")


def _rest(slurm: SlurmConfig, at: str, say: Say) -> None:
    parts = urlsplit(slurm.rest_url)
    if not slurm.rest_url:
        say(f"{at}.rest_url", "the client rest needs the URL of slurmrestd. Set this key.")
    elif parts.scheme == "unix":
        if not parts.path.startswith("/") or parts.netloc:
            say(f"{at}.rest_url", "write a socket as unix:///path.")
    elif parts.scheme not in ("http", "https") or not parts.hostname:
        say(f"{at}.rest_url", "this must be http://host:port, https://host:port or unix:///path.")
    elif parts.scheme == "http" and not is_loopback(parts.hostname):
        say(
            f"{at}.rest_url",
            "over plain http, others could read the tokens and submit as any user. Use https or a socket.",
        )
    if bool(slurm.rest_key_file) == bool(slurm.rest_token_file):
        say(f"{at}.rest_key_file", "the client rest needs one of rest_key_file and rest_token_file. Set one of them.")


def _private_reports(gateway: GatewayConfig) -> bool:
    """Return whether nobody on the network can read a job's report token: https, or within this machine."""
    if not gateway.internal_url and gateway.report_port:
        return True
    parts = urlsplit(gateway.internal_url)
    return parts.scheme == "https" or is_loopback(parts.hostname or gateway.host)


def _ssh(ssh: SshConfig, at: str, say: Say) -> None:
    """Check the hosts, and that the credentials are complete."""
    names = [host.name for host in ssh.host]
    if not names:
        say(f"{at}.host", "there must be at least one [[cluster.ssh.host]].")
    if "any" in names:
        say(f"{at}.host", "a host cannot have the name any, which stands for the host with the most room.")
    for name in sorted({name for name in names if names.count(name) > 1}):
        say(f"{at}.host", f"the name {name!r} is used twice.")
    needed = {"certificate": "", "command": "certificate_command", "key": "key_file", "agent": "agent_socket"}
    if ssh.credentials not in needed:
        say(f"{at}.credentials", f"{ssh.credentials!r} is not a kind of credentials. Use one of: {', '.join(needed)}.")
        return
    for way, key in needed.items():
        if key and way == ssh.credentials and not getattr(ssh, key):
            say(f"{at}.{key}", f"credentials = {way} needs this. Set it.")
        if key and way != ssh.credentials and getattr(ssh, key):
            say(f"{at}.{key}", f"credentials = {ssh.credentials} does not use this. Remove it.")
    if ssh.way_in != "direct":
        say(f"{at}.way_in", f"{ssh.way_in!r} is not supported. Use direct.")
    _ssh_paths(ssh, at, say)


def _ssh_paths(ssh: SshConfig, at: str, say: Say) -> None:
    paths = [("python", ssh.python), ("key_file", ssh.key_file), ("agent_socket", ssh.agent_socket)]
    paths += [("known_hosts", path) for path in ssh.known_hosts]
    paths += [("certificate_command", path) for path in ssh.certificate_command[:1]]
    for key, value in paths:
        if value and not PLAIN_PATH.fullmatch(value):
            say(f"{at}.{key}", f"{value!r} must be an absolute path.")
    if not SAFE_PATH.fullmatch(ssh.python):
        say(f"{at}.python", "the path can have letters, digits and the characters / . _ + - only.")
    if not PLAIN_PATH.fullmatch(ssh.folder.removeprefix("~")) or ssh.folder in ("/", "~/"):
        say(f"{at}.folder", "this must be an absolute path, or begin with ~/ (the home of the job's user).")
