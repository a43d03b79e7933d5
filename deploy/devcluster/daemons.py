"""The daemons: what each is started with, and how one knows that it answers.

Owns: command lines and readiness. Refuses to know: in which order they are wanted.
"""

import contextlib
import http.client
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.devcluster import another, clients
from deploy.devcluster.errors import DevclusterError
from deploy.devcluster.layout import HUB, NODES, Layout
from deploy.devcluster.namespaces import inside
from deploy.devcluster.processes import Process, launch, recorded
from deploy.devcluster.users import RESTD

START_SECONDS = 60
STOP_SECONDS = 15
LOG_TAIL = 15


@dataclass(frozen=True)
class Daemon:
    """One daemon of one cluster."""

    layout: Layout
    name: str
    argv: tuple[str, ...]
    answers: Callable[[], bool]
    host: str = HUB
    user: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    binds: Mapping[Path, Path] = field(default_factory=dict)
    stop_seconds: float = STOP_SECONDS
    slurm: bool = False  # whether it is a part of Slurm, and comes from where that comes from

    @property
    def record(self) -> Path:
        """Where its pid and start time are written."""
        return self.layout.run / f"{self.name}.process"

    @property
    def process(self) -> Process | None:
        """The process that was started last; None: none was, or it was stopped."""
        return recorded(self.record)

    @property
    def alive(self) -> bool:
        """Whether it runs; also true of one that is stopped by a signal."""
        process = self.process
        return process is not None and process.alive

    def launch(self) -> None:
        """Start it, and do not wait."""
        binds = {**self.binds, **(another.binds(self.layout.debian) if self.slurm and self.layout.debian else {})}
        argv = inside(self.layout, self.host, self.argv, binds=binds, user=self.user)
        environment = {**clients.environment(self.layout), **self.environment}
        launch(self.record, argv, environment=environment, output=self.output)

    def wait(self) -> None:
        """Return when it answers. Raises DevclusterError with the end of its log when it does not."""
        end = time.monotonic() + START_SECONDS
        while not self.answers():
            if not self.alive:
                raise DevclusterError(f"{self.name} ended while it started. {self._tail()}")
            if time.monotonic() > end:
                raise DevclusterError(f"{self.name} does not answer after {START_SECONDS} s. {self._tail()}")
            time.sleep(0.03)

    def start(self) -> None:
        """Start it, and return when it answers."""
        self.launch()
        self.wait()

    def stop(self) -> None:
        """End it, with time to write down what it knows; nothing happens when it does not run."""
        self._end(self.stop_seconds)

    def kill(self) -> None:
        """End it at once, as a crash would (SIGKILL)."""
        self._end(0)

    def _end(self, seconds: float) -> None:
        process = self.process
        if process is not None:
            process.end(seconds=seconds)
        self.record.unlink(missing_ok=True)

    @property
    def output(self) -> Path:
        """What it prints; its own log, where it has one, is `NAME.log` beside it."""
        return self.layout.log / f"{self.name}.out"

    def _tail(self) -> str:
        with contextlib.suppress(OSError):
            lines = self.output.read_text(errors="replace").splitlines()[-LOG_TAIL:]
            return f"The end of {self.output}:\n  " + "\n  ".join(lines)
        return ""


def munged(layout: Layout) -> Daemon:
    """The keeper of identities, with a key and a socket of this cluster's own."""
    folder = layout.munge_folder
    return Daemon(
        layout,
        "munged",
        (
            *("munged", "--foreground", f"--key-file={folder}/key", f"--socket={layout.munge_socket}"),
            *(f"--pid-file={folder}/pid", f"--seed-file={folder}/seed", f"--log-file={folder}/log"),
            *("--num-threads=4",),
        ),
        user="munge",
        answers=lambda: _succeeds(layout, "munge", "--no-input", f"--socket={layout.munge_socket}"),
    )


def mariadbd(layout: Layout) -> Daemon:
    """The database: on a unix socket only, small, and in no hurry to reach the disk."""
    return Daemon(
        layout,
        "mariadbd",
        (
            *("mariadbd", "--no-defaults", "--user=mysql", f"--datadir={layout.state}/mysql"),
            *(f"--socket={layout.mysql_socket}", f"--pid-file={layout.mysql_socket.parent}/pid", "--skip-networking"),
            *("--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M", "--innodb-lock-wait-timeout=900"),
            *("--innodb-flush-log-at-trx-commit=0", "--skip-log-bin", f"--tmpdir={layout.mysql_temporary}"),
        ),
        answers=lambda: _succeeds(layout, *sql(layout), "-e", "select 1"),
    )


def sql(layout: Layout) -> tuple[str, ...]:
    """The database's client, as root by the socket's peer."""
    return ("mariadb", "--no-defaults", f"--socket={layout.mysql_socket}")


def slurmdbd(layout: Layout) -> Daemon:
    """The keeper of accounts and of finished jobs."""
    return Daemon(
        layout,
        "slurmdbd",
        ("slurmdbd", "-D"),
        slurm=True,
        # The client library takes the socket's place from here; slurmdbd.conf has no setting for it.
        environment={"MYSQL_UNIX_PORT": str(layout.mysql_socket), "MARIADB_UNIX_PORT": str(layout.mysql_socket)},
        answers=lambda: _succeeds(layout, "sacctmgr", "--noheader", "show", "cluster"),
    )


def slurmctld(layout: Layout) -> Daemon:
    """The controller."""
    return Daemon(
        layout,
        "slurmctld",
        # -i: Slurm 26.05 would not start again after a crash in its first minutes, when not all has been saved once.
        ("slurmctld", "-D", "-i", "-f", str(layout.slurm_conf)),
        slurm=True,
        answers=lambda: "is UP" in clients.attempt(layout, ("scontrol", "ping"), seconds=5).stdout,
    )


def slurmd(layout: Layout, node: str, groups: Mapping[Path, Path]) -> Daemon:
    """A node: `groups` are its control groups."""
    return Daemon(
        layout,
        node,
        ("slurmd", "-D", "-N", node, "-f", str(layout.slurm_conf)),
        slurm=True,
        host=node,
        binds=groups,
        answers=lambda: _node_serves(layout, node),
    )


def slurmrestd(layout: Layout) -> Daemon:
    """The REST API, for those who show a JWT."""
    address, port = layout.listeners["slurmrestd"]
    return Daemon(
        layout,
        "slurmrestd",
        ("slurmrestd", "-a", "rest_auth/jwt", "-t", "4", f"{address}:{port}", f"unix:{layout.restd_socket}"),
        slurm=True,
        user=RESTD,
        environment={"SLURM_JWT": "daemon"},
        answers=lambda: _http_answers(address, port),
        stop_seconds=0.2,  # slurmrestd 22.05 ignores SIGTERM, and keeps nothing that could be lost
    )


def all_of(layout: Layout, groups: Mapping[Path, Path]) -> dict[str, Daemon]:
    """Every daemon by name, in the order in which each finds what it needs; a slurmd goes by its node's name."""
    every = [munged(layout), mariadbd(layout), slurmdbd(layout), slurmctld(layout)]
    every += [slurmd(layout, node, groups) for node in NODES]
    every.append(slurmrestd(layout))
    return {daemon.name: daemon for daemon in every}


def _succeeds(layout: Layout, *argv: str) -> bool:
    return clients.attempt(layout, argv, seconds=10).returncode == 0


def _node_serves(layout: Layout, node: str) -> bool:
    """Whether it listens, and slurmctld has heard of it: a star after its state says that it has not (sinfo(1))."""
    try:
        socket.create_connection(layout.listeners[node], timeout=5).close()
    except OSError:
        return False
    state = clients.attempt(layout, ("sinfo", "-h", "-n", node, "-o", "%t"), seconds=5).stdout.split("\n")[0].strip()
    return bool(state) and not state.endswith("*") and not state.startswith(("down", "unk"))


def _http_answers(address: str, port: int) -> bool:
    connection = http.client.HTTPConnection(address, port, timeout=5)
    try:
        connection.request("GET", "/openapi/v3")
        return connection.getresponse().status > 0
    except (TimeoutError, OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
