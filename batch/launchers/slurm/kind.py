"""The kind `slurm`: batch jobs of the users' own accounts, and the table of settings for it."""

from typing import Annotated, Final
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from batch.ssh.settings import SshAddressConfig, SshLoginConfig, check_addresses, check_login, check_python
from state.config.tables import ProfileConfig
from state.config.urls import PLAIN_PATH, is_loopback
from state.offer.option_kinds import KINDS
from state.plugins.launchers import LauncherKind
from state.plugins.options import Say

SLURM_CLIENTS: Final = ("cli", "ssh", "rest", "pyslurm")
SUBMIT_AS: Final = ("setuid", "sudo")


class LoginNodesConfig(SshLoginConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[cluster.slurm.ssh]`: the login nodes on which the client `ssh` runs Slurm's commands."""

    login_node: tuple[SshAddressConfig, ...] = ()
    """`[[cluster.slurm.ssh.login_node]]`: the nodes, in the order in which they are used."""
    connect_seconds: Annotated[float, Meta(gt=0, le=60)] = 5.0
    """Seconds to wait for a login node before the next one is used."""
    python: str = "/usr/bin/python3"
    """The interpreter (3.6 or newer) on the login nodes."""


class SlurmConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[cluster.slurm]`: how the controller uses Slurm."""

    client: str = "cli"
    """`cli` (sbatch, squeue, ...), `ssh` (the same on login nodes), `rest` (slurmrestd) or `pyslurm` (an extra)."""
    submit_as: str = "setuid"
    """How `cli` submits as the user: `setuid` (the controller is root) or `sudo` (deploy/sudoers)."""
    conf: str = ""
    """slurm.conf for the commands (SLURM_CONF); empty: their default."""
    bin_dir: str = ""
    """The folder of sbatch and the other commands; empty: they are found on the PATH."""
    rest_url: str = ""
    """slurmrestd: http://host:port, https://host:port or unix:///path."""
    rest_key_file: str = ""
    """Slurm's JWT key (jwt_hs256.key), with which a token per user is made that is valid for a few minutes."""
    rest_token_file: str = ""
    """Or the token of an operator (SlurmUser or root) who may submit for others."""
    rest_ca: str = ""
    """A file with the certificates (PEM) that slurmrestd's is checked against; empty: the system's."""
    rest_user: str = "root"
    """The name that the operator's token belongs to, and that queries all jobs."""
    ssh: LoginNodesConfig = LoginNodesConfig()
    """`[cluster.slurm.ssh]`: the login nodes, for the client `ssh`."""
    timeout: Annotated[float, Meta(gt=0)] = 30.0
    """Seconds to wait for one call."""
    catalog_seconds: Annotated[float, Meta(gt=0)] = 60.0
    """Age in seconds at which partitions, limits and associations are read again when a user opens the form."""
    python: str = "/usr/bin/python3"
    """The interpreter (3.6 or newer) that runs the starter on the nodes."""
    min_uid: Annotated[int, Meta(ge=1000)] = 1000
    """Accounts with a smaller user id are system accounts and cannot have jobs."""
    node_folder: str = ""
    """The folder for a job's files on the node. Empty: `~/.towpath/jobs`."""


def check(slurm: SlurmConfig, at: str, say: Say) -> None:
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
    _login_nodes(slurm, f"{at}.ssh", say)
    _paths(slurm, at, say)


def _paths(slurm: SlurmConfig, at: str, say: Say) -> None:
    for key in ("rest_url", "rest_key_file", "rest_token_file", "rest_ca"):
        if slurm.client != "rest" and getattr(slurm, key):
            say(f"{at}.{key}", f"the client {slurm.client} does not use this. Remove it.")
    for key in ("conf", "bin_dir", "python", "rest_key_file", "rest_token_file", "rest_ca"):
        value = getattr(slurm, key)
        if (value or key == "python") and not PLAIN_PATH.fullmatch(value):
            say(f"{at}.{key}", f"{value!r} is not an absolute path. It must begin with /.")
    if slurm.node_folder and not PLAIN_PATH.fullmatch(slurm.node_folder.removeprefix("~")):
        say(f"{at}.node_folder", "this must be an absolute path, or begin with ~/ (the home of the job's user).")


def _login_nodes(slurm: SlurmConfig, at: str, say: Say) -> None:
    ssh = slurm.ssh
    if slurm.client != "ssh":
        if ssh != LoginNodesConfig():
            say(at, f"the client {slurm.client} does not use this table. Remove it, or set client = ssh.")
        return
    if not ssh.login_node:
        say(f"{at}.login_node", "the client ssh needs at least one [[cluster.slurm.ssh.login_node]].")
    check_addresses(ssh.login_node, f"{at}.login_node", say)
    check_login(ssh, at, say)
    check_python(ssh.python, f"{at}.python", say)


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
    if slurm.rest_ca and parts.scheme != "https":
        say(f"{at}.rest_ca", "only an https URL has a certificate to check. Remove this, or use https in rest_url.")
    if bool(slurm.rest_key_file) == bool(slurm.rest_token_file):
        say(f"{at}.rest_key_file", "the client rest needs one of rest_key_file and rest_token_file. Set one of them.")


def check_profile(profile: ProfileConfig, at: str, say: Say) -> None:
    """Further options of sbatch. Each has its own form, and none can turn a job into another user's."""
    if not profile.resources.extra:
        return
    from batch.contract import LauncherError  # noqa: PLC0415 - most profiles have none, and most processes no jobs
    from batch.launchers.slurm import grammar  # noqa: PLC0415

    for name, value in profile.resources.extra.items():
        try:
            grammar.further(name, value)
        except LauncherError as error:
            say(f"{at}.resources.extra.{name}", f"{error} {error.hint}".strip())


def _catalog_seconds(slurm: SlurmConfig) -> float:
    return slurm.catalog_seconds


KIND: Final = LauncherKind(
    name="slurm",
    open="batch.launchers.slurm.factory:open_slurm",
    options=SlurmConfig,
    check=check,
    check_profile=check_profile,
    endpoints=frozenset({"tls", "reverse"}),
    option_kinds=frozenset(KINDS),
    catalog_seconds=_catalog_seconds,
)
