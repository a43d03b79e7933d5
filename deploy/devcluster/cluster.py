"""The whole cluster: up, down, and how it stands.

Owns: the order in which things are made and unmade. Refuses to know: how each is done, and who asked.
"""

import contextlib
import dataclasses
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from deploy.devcluster import accounts, another, cgroups, clients, daemons, files, processes, users
from deploy.devcluster.daemons import Daemon
from deploy.devcluster.errors import DevclusterError, UsageError
from deploy.devcluster.layout import NODES, PATH, Layout
from deploy.devcluster.slurm_conf import Shape

# Commands that must be there, and the Debian package that each comes with.
COMMANDS = {
    "munged": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "slurmdbd": "slurmdbd",
    "slurmrestd": "slurmrestd",
    "sbatch": "slurm-client",
    "mariadbd": "mariadb-server",
}

SACCTMGR_FAILS = ("error:", "Unknown option", "doesn't exist", "Nothing new added", "Problem")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Cluster:
    """One cluster; what it is made of is found from its folder alone, so any process may speak of it."""

    layout: Layout
    shape: Shape = field(default_factory=Shape)

    @cached_property
    def daemons(self) -> dict[str, Daemon]:
        """Every daemon by name; a slurmd goes by its node's name."""
        groups: dict[Path, Path] = {}
        if self.shape.cgroups:
            groups = {hierarchy / self.layout.cgroup: hierarchy for hierarchy in cgroups.hierarchies()}
        return daemons.all_of(self.layout, groups)

    def up(self, say: Say) -> None:
        """From nothing (or from what a crash left) to three idle nodes. On failure all of it is undone.

        Raises UsageError when this machine or this user cannot have it, DevclusterError when something does not start.
        """
        check_machine()
        with _alone(self.layout):
            number = files.number_of(self.layout.folder)
            if number is not None:
                say("Removing what an earlier cluster left")
                _remove(Cluster(dataclasses.replace(self.layout, number=number)), say)
            check_ports(self.layout)
            files.claim(self.layout)
            try:
                self._build(say)
            except BaseException:
                _remove(self, say)
                raise

    def _build(self, say: Say) -> None:
        say("Unix accounts")
        users.provide(self.layout)
        if self.shape.cgroups:
            cgroups.make(self.layout.cgroup)
        files.write(self.layout, self.shape)
        named = self.daemons
        say("munge and MariaDB")
        named["munged"].launch()
        self._make_database()
        named["munged"].wait()
        say("slurmdbd")
        named["slurmdbd"].start()
        say("slurmctld, slurmrestd and the nodes")
        for name in ("slurmctld", *NODES, "slurmrestd"):
            named[name].launch()
        named["slurmctld"].wait()
        self._sacctmgr(accounts.commands(self.layout))
        for name in (*NODES, "slurmrestd"):
            named[name].wait()

    def _make_database(self) -> None:
        clients.run(
            self.layout,
            (
                *("mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={self.layout.state}/mysql"),
                *("--skip-test-db", "--auth-root-authentication-method=socket", "--skip-name-resolve"),
                f"--tmpdir={self.layout.mysql_temporary}",
            ),
            seconds=120,
        )
        self.daemons["mariadbd"].start()
        statements = (
            "create database slurm_acct_db;"
            "create user slurm@localhost identified via unix_socket;"
            "grant all on slurm_acct_db.* to slurm@localhost;"
        )
        clients.run(self.layout, (*daemons.sql(self.layout), "-e", statements))

    def _sacctmgr(self, commands: str) -> None:
        """Run commands in one sacctmgr. It ends with 0 whatever happens, so its words are looked at."""
        done = clients.attempt(self.layout, ("sacctmgr", "--immediate", "--quiet"), given=commands)
        words = done.stdout + done.stderr
        with (self.layout.log / "sacctmgr.out").open("a") as log:
            log.write(words)
        if done.returncode or any(sign in words for sign in SACCTMGR_FAILS):
            raise DevclusterError(f"sacctmgr did not do as it was told: {words}")

    def down(self, say: Say) -> None:
        """End all that `up` started, and remove all that it made; idempotent. Raises UsageError where it may not."""
        check_root()
        with _alone(self.layout):
            if files.number_of(self.layout.folder) is not None:
                _remove(self, say)

    @property
    def whole(self) -> bool:
        """Whether every daemon runs."""
        return all(daemon.alive for daemon in self.daemons.values())


def _remove(cluster: Cluster, say: Say) -> None:
    layout = cluster.layout
    say("Ending the daemons and the jobs")
    # At once, all of them: what they would write down is about to be removed. Nodes first, so that no job begins.
    for name in (*NODES, *reversed(cluster.daemons)):
        cluster.daemons[name].kill()
    while left := list(processes.marked(layout.hosts)):
        for process in left:
            process.end(seconds=0)
    say("Removing control groups, accounts and files")
    cgroups.remove(layout.cgroup)
    users.release(layout)
    files.remove(layout)


def has_cgroups(layout: Layout) -> bool:
    """Whether this machine and this Slurm can have control groups for jobs; newer Slurms know only version 2."""
    return cgroups.usable() and (layout.debian is None or (another.plugins(layout.debian) / "cgroup_v1.so").exists())


@contextlib.contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    """One at a time on a folder and on a number.

    The locks are abstract sockets (unix(7)): they are no files, and end with their process.
    """
    with socket.socket(socket.AF_UNIX) as folder, socket.socket(socket.AF_UNIX) as number:
        try:
            folder.bind(f"\0towpath-devcluster:{layout.folder}")
            number.bind(f"\0towpath-devcluster:{layout.number}")
        except OSError:
            raise UsageError(
                f"Somebody is at work on the cluster in {layout.folder}, or on another with the number {layout.number}."
            ) from None
        yield


def check_root() -> None:
    """Raises UsageError when this is not root."""
    if os.geteuid() != 0:
        raise UsageError("The cluster needs root: it starts daemons as several users, and makes accounts.")


def check_machine() -> None:
    """Raises UsageError when this is not root, or something is not there that is needed."""
    check_root()
    missing = {package for command, package in COMMANDS.items() if shutil.which(command, path=PATH) is None}
    if missing:
        raise UsageError(f"Not installed: {', '.join(sorted(missing))}. `make cluster` installs what is needed.")
    if not Path("/etc/hosts").exists():
        raise UsageError(
            "There is no /etc/hosts, in the place of which nodes see one of their own: an empty one will do."
        )


def check_ports(layout: Layout) -> None:
    """Raises UsageError that names the first port which something else has."""
    for daemon, (address, port) in layout.listeners.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                raise UsageError(
                    f"Port {port} on {address}, for {daemon}, is taken ({error.strerror}): choose another --number."
                ) from None
