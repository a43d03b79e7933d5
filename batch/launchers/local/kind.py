"""The kind `local`: processes on the hub's own machine, under the hub's own account or under the users' own."""

import dataclasses
import re
from typing import Annotated, Final

from msgspec import Meta, Struct

from state.config.urls import PLAIN_PATH
from state.plugins.launchers import LauncherKind
from state.plugins.options import Say

RUN_AS: Final = ("hub", "user")
BECOME: Final = ("setuid", "sudo")
SAFE_PATH: Final = re.compile(r"/[A-Za-z0-9/._+-]*")


class LocalConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[cluster.local]`: servers on the hub's machine. All keys but `run_as` are for `run_as = "user"`."""

    run_as: str = "hub"
    """The account of a server: `hub` (the hub's own, without isolation) or `user` (its user's Unix account)."""
    become: str = "setuid"
    """How the controller becomes a user: `setuid` (it runs as root) or `sudo` (deploy/sudoers/towpath-run)."""
    min_uid: Annotated[int, Meta(ge=1)] = 1000
    """Accounts with a smaller user id are system accounts and cannot have servers."""
    servers_per_user: Annotated[int, Meta(ge=0)] = 0
    """How many servers of one user may run at once; 0: no limit."""
    max_servers: Annotated[int, Meta(ge=0)] = 0
    """How many servers may run at once; 0: no limit."""
    reserve: bool = False
    """Whether cores and memory are kept for the server that requested them, so that others wait for room."""
    max_processes: Annotated[int, Meta(ge=0)] = 4096
    """How many processes and threads a server may have; 0: no limit."""
    cgroup: str = ""
    """A control group (version 2) that was delegated to the hub. Empty: systemd's scopes, or the topmost group."""
    python: str = "/usr/bin/python3"
    """The interpreter (3.6 or newer) that runs the starter. All users must be able to run it."""
    folder: str = "~/.towpath"
    """The folder for a job's files."""
    timeout: Annotated[float, Meta(gt=0, le=300)] = 20.0
    """Seconds that a request to the program that runs as the user may take."""


def check(local: LocalConfig, at: str, say: Say) -> None:
    """Check that the values are known, and that the keys for `run_as = "user"` are set with it only."""
    if local.run_as not in RUN_AS:
        say(f"{at}.run_as", f"{local.run_as!r} is not a known value. Use one of: {', '.join(RUN_AS)}.")
        return
    if local.become not in BECOME:
        say(f"{at}.become", f"{local.become!r} is not a known value. Use one of: {', '.join(BECOME)}.")
    if not SAFE_PATH.fullmatch(local.python):
        say(f"{at}.python", "this must be an absolute path of letters, digits and the characters / . _ + - only.")
    if not PLAIN_PATH.fullmatch(local.folder.removeprefix("~")) or local.folder in ("/", "~/"):
        say(f"{at}.folder", "this must be an absolute path, or begin with ~/ (the home of the user).")
    if local.cgroup and not PLAIN_PATH.fullmatch(local.cgroup):
        say(f"{at}.cgroup", f"{local.cgroup!r} is not an absolute path. It must begin with /.")
    if local.run_as == "hub":
        for name in LocalConfig.__struct_fields__[1:]:
            if getattr(local, name) != getattr(LocalConfig(), name):
                say(f"{at}.{name}", 'this has an effect only with run_as = "user". Set that, or remove this key.')


def _under_one_account(local: LocalConfig) -> bool:
    return local.run_as != "user"


def _adapt(local: LocalConfig) -> LauncherKind:
    """With `run_as = "user"` jobs are not the hub's own processes, and prove themselves as on another machine."""
    if local.run_as != "user":
        return KIND
    return dataclasses.replace(
        KIND,
        endpoints=frozenset({"tls", "reverse"}),
        option_kinds=frozenset({"cores", "memory", "gpu", "gpus"}),
        runs_here=False,
        one_machine=True,
        cheap_polls=False,
        self_test="",
    )


KIND: Final = LauncherKind(
    name="local",
    open="batch.launchers.local.factory:open_local",
    options=LocalConfig,
    check=check,
    endpoints=frozenset({"unix", "tcp"}),
    runs_here=True,
    shared_account=_under_one_account,
    isolation_advice='Set run_as = "user" in [cluster.local], so that each server runs under its user\'s own account',
    cheap_polls=True,
    self_test="batch.launchers.local.port_check:port_fault",
    adapt=_adapt,
)
