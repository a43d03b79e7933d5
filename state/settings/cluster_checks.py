"""What can be wrong with `[[cluster]]`, and whether its servers are kept apart from each other.

Pure: the faults of the tables alone. Whether a cluster answers is the controller's to find out.
"""

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from state.config.tables import ClusterConfig, Config, GatewayConfig, SlurmConfig, SshConfig
from state.config.urls import is_loopback

CLUSTER_KINDS: Final = ("local", "slurm", "ssh")
SHARED_ACCOUNT: Final = ("local",)
"""Kinds of cluster whose servers all run under the hub's own account."""
SLURM_CLIENTS: Final = ("cli", "rest", "pyslurm")
SUBMIT_AS: Final = ("setuid", "sudo")
PLAIN_PATH: Final = re.compile(r"/[^\0\n]*")
SAFE_PATH: Final = re.compile(r"/[A-Za-z0-9/._+-]*")

Say = Callable[[str, str], None]
"""Report a fault: key, message."""


def check(config: Config, say: Say) -> None:
    """All faults of [[cluster]]."""
    names = [cluster.name for cluster in config.cluster]
    if not names:
        say("cluster", "there must be at least one [[cluster]].")
    for name in sorted({name for name in names if names.count(name) > 1}):
        say("cluster", f"the name {name!r} is there twice.")
    for number, cluster in enumerate(config.cluster, 1):
        if cluster.kind not in CLUSTER_KINDS:
            say(
                f"cluster[{number}].kind",
                f"{cluster.kind!r} is not a kind of cluster here; there is: {', '.join(CLUSTER_KINDS)}.",
            )
            continue
        _isolation(cluster, config, f"cluster[{number}].isolation", say)
        if cluster.kind != "local" and not _private_reports(config.gateway):
            say(
                "gateway.report_port",
                f"jobs of {cluster.name!r} report over the network, and not in plain http: set report_host and"
                " report_port, or an internal_url that begins with https://.",
            )
        if cluster.kind == "slurm":
            _slurm(cluster.slurm, f"cluster[{number}].slurm", say)
        elif cluster.slurm != SlurmConfig():
            say(f"cluster[{number}].slurm", f"a cluster of kind {cluster.kind} has no table [cluster.slurm].")
        if cluster.kind == "ssh":
            _ssh(cluster.ssh, f"cluster[{number}].ssh", say)
        elif cluster.ssh != SshConfig():
            say(f"cluster[{number}].ssh", f"a cluster of kind {cluster.kind} has no table [cluster.ssh].")


def _isolation(cluster: ClusterConfig, config: Config, key: str, say: Say) -> None:
    """Several users' servers under one account are refused, unless the configuration accepts that."""
    if cluster.isolation not in ("", "none"):
        say(key, f'{cluster.isolation!r} is not a known value. Set it to "none" or remove it.')
    elif cluster.isolation and cluster.kind not in SHARED_ACCOUNT:
        say(key, f"a cluster of kind {cluster.kind} runs each server as its user. Remove this key.")
    elif not cluster.isolation and config.auth is not None and cluster.kind in SHARED_ACCOUNT:
        say(
            key,
            f"servers on the cluster {cluster.name!r} run under the hub's own account: with [auth], every user could"
            " read the files of all others and the hub's own data, and act as any user. Use a cluster that runs"
            ' servers as their users, such as slurm, or accept this with isolation = "none".',
        )


def without_isolation(config: Config) -> list[ClusterConfig]:
    """The clusters on which users of this hub could read each other's files and the hub's data."""
    return [one for one in config.cluster if config.auth is not None and one.kind in SHARED_ACCOUNT]


def no_isolation(cluster: ClusterConfig) -> str:
    """What that means, as a sentence for whoever runs the hub."""
    return (
        f"No isolation: servers on {cluster.name} run under the hub's own account."
        " Every user can read the files of all others and the hub's own data, and act as any user."
    )


def _slurm(slurm: SlurmConfig, at: str, say: Say) -> None:
    """How Slurm is spoken to: whether the ways go together, and whether what they need is there."""
    if slurm.client not in SLURM_CLIENTS:
        say(f"{at}.client", f"{slurm.client!r} is not a way to speak to Slurm; there is: {', '.join(SLURM_CLIENTS)}.")
        return
    if slurm.submit_as not in SUBMIT_AS:
        say(f"{at}.submit_as", f"{slurm.submit_as!r} is not a way to submit; there is: {', '.join(SUBMIT_AS)}.")
    elif slurm.submit_as != "setuid" and slurm.client != "cli":
        say(f"{at}.submit_as", f"only the client cli submits by {slurm.submit_as}.")
    if slurm.client == "rest":
        _rest(slurm, at, say)
    for key in ("rest_url", "rest_key_file", "rest_token_file"):
        if slurm.client != "rest" and getattr(slurm, key):
            say(f"{at}.{key}", f"the client {slurm.client} has no use for this.")
    for key in ("conf", "bin_dir", "python", "rest_key_file", "rest_token_file"):
        value = getattr(slurm, key)
        if (value or key == "python") and not PLAIN_PATH.fullmatch(value):
            say(f"{at}.{key}", f"{value!r} is not a whole path: it begins with /.")
    if slurm.node_folder and not PLAIN_PATH.fullmatch(slurm.node_folder.removeprefix("~")):
        say(f"{at}.node_folder", "this is a whole path, or begins with ~/ (the home of the job's user).")


def _rest(slurm: SlurmConfig, at: str, say: Say) -> None:
    parts = urlsplit(slurm.rest_url)
    if not slurm.rest_url:
        say(f"{at}.rest_url", "the client rest needs the URL of slurmrestd.")
    elif parts.scheme == "unix":
        if not parts.path.startswith("/") or parts.netloc:
            say(f"{at}.rest_url", "a socket is written as unix:///path.")
    elif parts.scheme not in ("http", "https") or not parts.hostname:
        say(f"{at}.rest_url", "this is http://host:port, https://host:port or unix:///path.")
    elif parts.scheme == "http" and not is_loopback(parts.hostname):
        say(
            f"{at}.rest_url",
            "over plain http others on the way could read the tokens, and submit as anybody: use https or a socket.",
        )
    if bool(slurm.rest_key_file) == bool(slurm.rest_token_file):
        say(f"{at}.rest_key_file", "the client rest needs one of rest_key_file and rest_token_file.")


def _private_reports(gateway: GatewayConfig) -> bool:
    """Whether a job's report token is read by nobody on its way: over https, or within this machine."""
    if not gateway.internal_url and gateway.report_port:
        return True
    parts = urlsplit(gateway.internal_url)
    return parts.scheme == "https" or is_loopback(parts.hostname or gateway.host)


def _ssh(ssh: SshConfig, at: str, say: Say) -> None:
    """The hosts, and whether the way to log in is complete."""
    names = [host.name for host in ssh.host]
    if not names:
        say(f"{at}.host", "there must be at least one [[cluster.ssh.host]].")
    if "any" in names:
        say(f"{at}.host", "no host can have the name any: it stands for whichever host has room.")
    for name in sorted({name for name in names if names.count(name) > 1}):
        say(f"{at}.host", f"the name {name!r} is there twice.")
    needed = {"certificate": "", "command": "certificate_command", "key": "key_file", "agent": "agent_socket"}
    if ssh.credentials not in needed:
        say(f"{at}.credentials", f"{ssh.credentials!r} is not a way to log in; there is: {', '.join(needed)}.")
        return
    for way, key in needed.items():
        if key and way == ssh.credentials and not getattr(ssh, key):
            say(f"{at}.{key}", f"credentials = {way} needs this.")
        if key and way != ssh.credentials and getattr(ssh, key):
            say(f"{at}.{key}", f"credentials = {ssh.credentials} does not use this. Remove it.")
    if ssh.way_in != "direct":
        say(f"{at}.way_in", f"{ssh.way_in!r} is not a way in here; there is: direct.")
    _ssh_paths(ssh, at, say)


def _ssh_paths(ssh: SshConfig, at: str, say: Say) -> None:
    paths = [("python", ssh.python), ("key_file", ssh.key_file), ("agent_socket", ssh.agent_socket)]
    paths += [("known_hosts", path) for path in ssh.known_hosts]
    paths += [("certificate_command", path) for path in ssh.certificate_command[:1]]
    for key, value in paths:
        if value and not PLAIN_PATH.fullmatch(value):
            say(f"{at}.{key}", f"{value!r} must be an absolute path.")
    if not SAFE_PATH.fullmatch(ssh.python):
        say(f"{at}.python", "the path may have letters, digits and the characters / . _ + - only.")
    if not PLAIN_PATH.fullmatch(ssh.folder.removeprefix("~")) or ssh.folder in ("/", "~/"):
        say(f"{at}.folder", "this must be an absolute path, or begin with ~/ (the home of the job's user).")
