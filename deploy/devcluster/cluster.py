"""Starts and stops the whole cluster.

Owns the order of the steps. Does not know how each step is done.
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

# Required commands, and the Debian package of each.
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

Report = Callable[[str], None]
"""Called with the name of each step."""


@dataclass(frozen=True)
class Cluster:
    """One cluster. Everything about it follows from its folder, so any process can use it."""

    layout: Layout
    shape: Shape = field(default_factory=Shape)

    @cached_property
    def daemons(self) -> dict[str, Daemon]:
        """All daemons by name; a slurmd has the name of its node."""
        groups: dict[Path, Path] = {}
        if self.shape.cgroups:
            groups = {hierarchy / self.layout.cgroup: hierarchy for hierarchy in cgroups.hierarchies()}
        return daemons.all_of(self.layout, groups)

    def up(self, report: Report) -> None:
        """Start the cluster, and return when three nodes are idle. A failure removes everything again.

        Also starts from what a crash has left. Raises UsageError if this machine or this user cannot run it, and
        DevclusterError if something does not start.
        """
        check_machine()
        with _exclusive(self.layout):
            number = files.number_of(self.layout.folder)
            if number is not None:
                report("Removing an earlier cluster")
                _remove(Cluster(dataclasses.replace(self.layout, number=number)), report)
            check_ports(self.layout)
            files.claim(self.layout)
            try:
                self._build(report)
            except BaseException:
                _remove(self, report)
                raise

    def _build(self, report: Report) -> None:
        report("Unix accounts")
        users.provide(self.layout)
        if self.shape.cgroups:
            cgroups.make(self.layout.cgroup)
        files.write(self.layout, self.shape)
        named = self.daemons
        report("munge and MariaDB")
        named["munged"].launch()
        self._make_database()
        named["munged"].wait()
        report("slurmdbd")
        named["slurmdbd"].start()
        report("slurmctld, slurmrestd and the nodes")
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
        """Run commands in one sacctmgr. Its exit code is always 0, so its output is searched for errors."""
        done = clients.attempt(self.layout, ("sacctmgr", "--immediate", "--quiet"), stdin=commands)
        output = done.stdout + done.stderr
        with (self.layout.log / "sacctmgr.out").open("a") as log:
            log.write(output)
        if done.returncode or any(sign in output for sign in SACCTMGR_FAILS):
            raise DevclusterError(f"sacctmgr failed: {output}")

    def down(self, report: Report) -> None:
        """Stop everything that `up` started and remove everything that it created; idempotent.

        Raises UsageError if this user may not do that.
        """
        check_root()
        with _exclusive(self.layout):
            if files.number_of(self.layout.folder) is not None:
                _remove(self, report)

    @property
    def running(self) -> bool:
        """Whether all daemons are running."""
        return all(daemon.alive for daemon in self.daemons.values())


def _remove(cluster: Cluster, report: Report) -> None:
    layout = cluster.layout
    report("Stopping the daemons and the jobs")
    # Kill them: what they would save is about to be removed. Nodes first, so that no job starts.
    for name in (*NODES, *reversed(cluster.daemons)):
        cluster.daemons[name].kill()
    while left := list(processes.with_hosts_file(layout.hosts)):
        for process in left:
            process.end(seconds=0)
    report("Removing control groups, accounts and files")
    cgroups.remove(layout.cgroup)
    users.release(layout)
    files.remove(layout)


def has_cgroups(layout: Layout) -> bool:
    """Return whether this machine and this Slurm support control groups for jobs; newer Slurms have only version 2."""
    return cgroups.usable() and (layout.debian is None or (another.plugins(layout.debian) / "cgroup_v1.so").exists())


@contextlib.contextmanager
def _exclusive(layout: Layout) -> Iterator[None]:
    """Lock the folder and the number of a cluster. Raises UsageError if another process has one of them.

    The locks are abstract sockets (unix(7)): they are not files, and end with their process.
    """
    with socket.socket(socket.AF_UNIX) as folder, socket.socket(socket.AF_UNIX) as number:
        try:
            folder.bind(f"\0towpath-devcluster:{layout.folder}")
            number.bind(f"\0towpath-devcluster:{layout.number}")
        except OSError:
            raise UsageError(
                f"Another process is using the cluster in {layout.folder}, or another one with number {layout.number}."
            ) from None
        yield


def check_root() -> None:
    """Raise UsageError if this process does not run as root."""
    if os.geteuid() != 0:
        raise UsageError("The cluster needs root: it starts daemons as several users and creates accounts.")


def check_machine() -> None:
    """Raise UsageError if this process does not run as root, or if a requirement is missing."""
    check_root()
    missing = {package for command, package in COMMANDS.items() if shutil.which(command, path=PATH) is None}
    if missing:
        raise UsageError(f"Not installed: {', '.join(sorted(missing))}. `make cluster` installs them.")
    if not Path("/etc/hosts").exists():
        raise UsageError("There is no /etc/hosts. Create one (it may be empty): nodes mount their own over it.")


def check_ports(layout: Layout) -> None:
    """Raise UsageError with the first port that is in use."""
    for daemon, (address, port) in layout.listeners.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                raise UsageError(
                    f"Port {port} on {address}, for {daemon}, is in use ({error.strerror}). Choose another --number."
                ) from None
