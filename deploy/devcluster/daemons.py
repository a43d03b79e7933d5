"""The daemons: their command lines, and how each is found to be ready.

Does not know in which order they are started.
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
    ready: Callable[[], bool]
    host: str = HUB
    user: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    binds: Mapping[Path, Path] = field(default_factory=dict)
    stop_seconds: float = STOP_SECONDS
    slurm: bool = False  # whether it is part of Slurm, and so may come from another Debian

    @property
    def record(self) -> Path:
        """The file with its pid and start time."""
        return self.layout.run / f"{self.name}.process"

    @property
    def process(self) -> Process | None:
        """The process that was started last, or None if there was none or it was stopped."""
        return recorded(self.record)

    @property
    def alive(self) -> bool:
        """Whether it is running; also true if a signal has stopped it."""
        process = self.process
        return process is not None and process.alive

    def launch(self) -> None:
        """Start it without waiting."""
        binds = {**self.binds, **(another.binds(self.layout.debian) if self.slurm and self.layout.debian else {})}
        argv = inside(self.layout, self.host, self.argv, binds=binds, user=self.user)
        environment = {**clients.environment(self.layout), **self.environment}
        launch(self.record, argv, environment=environment, output=self.output)

    def wait(self) -> None:
        """Wait until it is ready. Raises DevclusterError with the end of its log if it does not become ready."""
        end = time.monotonic() + START_SECONDS
        while not self.ready():
            if not self.alive:
                raise DevclusterError(f"{self.name} exited during its start. {self._tail()}")
            if time.monotonic() > end:
                raise DevclusterError(f"{self.name} is not ready after {START_SECONDS} s. {self._tail()}")
            time.sleep(0.03)

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.launch()
        self.wait()

    def stop(self) -> None:
        """Stop it, with time to save its state. Does nothing if it is not running."""
        self._end(self.stop_seconds)

    def kill(self) -> None:
        """Kill it (SIGKILL), as in a crash."""
        self._end(0)

    def _end(self, seconds: float) -> None:
        process = self.process
        if process is not None:
            process.end(seconds=seconds)
        self.record.unlink(missing_ok=True)

    @property
    def output(self) -> Path:
        """The file with its output. Its own log, if it has one, is `NAME.log` in the same folder."""
        return self.layout.log / f"{self.name}.out"

    def _tail(self) -> str:
        with contextlib.suppress(OSError):
            lines = self.output.read_text(errors="replace").splitlines()[-LOG_TAIL:]
            return f"The end of {self.output}:\n  " + "\n  ".join(lines)
        return ""


def munged(layout: Layout) -> Daemon:
    """Return munged, with a key and a socket of this cluster."""
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
        ready=lambda: _succeeds(layout, "munge", "--no-input", f"--socket={layout.munge_socket}"),
    )


def mariadbd(layout: Layout) -> Daemon:
    """Return the database: small, on a unix socket only, without flushing to disk at each commit."""
    return Daemon(
        layout,
        "mariadbd",
        (
            *("mariadbd", "--no-defaults", "--user=mysql", f"--datadir={layout.state}/mysql"),
            *(f"--socket={layout.mysql_socket}", f"--pid-file={layout.mysql_socket.parent}/pid", "--skip-networking"),
            *("--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M", "--innodb-lock-wait-timeout=900"),
            *("--innodb-flush-log-at-trx-commit=0", "--skip-log-bin", f"--tmpdir={layout.mysql_temporary}"),
        ),
        ready=lambda: _succeeds(layout, *sql(layout), "-e", "select 1"),
    )


def sql(layout: Layout) -> tuple[str, ...]:
    """Return the command line of the database client, which signs in as root by its peer credentials."""
    return ("mariadb", "--no-defaults", f"--socket={layout.mysql_socket}")


def slurmdbd(layout: Layout) -> Daemon:
    """Return slurmdbd, which stores accounts and finished jobs."""
    return Daemon(
        layout,
        "slurmdbd",
        ("slurmdbd", "-D"),
        slurm=True,
        # The client library reads the socket's path from here; slurmdbd.conf has no setting for it.
        environment={"MYSQL_UNIX_PORT": str(layout.mysql_socket), "MARIADB_UNIX_PORT": str(layout.mysql_socket)},
        ready=lambda: _succeeds(layout, "sacctmgr", "--noheader", "show", "cluster"),
    )


def slurmctld(layout: Layout) -> Daemon:
    """Return slurmctld."""
    return Daemon(
        layout,
        "slurmctld",
        # -i: without it Slurm 26.05 does not restart after a crash in its first minutes, before it has saved all state.
        ("slurmctld", "-D", "-i", "-f", str(layout.slurm_conf)),
        slurm=True,
        ready=lambda: "is UP" in clients.attempt(layout, ("scontrol", "ping"), seconds=5).stdout,
    )


def slurmd(layout: Layout, node: str, groups: Mapping[Path, Path]) -> Daemon:
    """Return the slurmd of a node; `groups` are its control groups."""
    return Daemon(
        layout,
        node,
        ("slurmd", "-D", "-N", node, "-f", str(layout.slurm_conf)),
        slurm=True,
        host=node,
        binds=groups,
        ready=lambda: _node_serves(layout, node),
    )


def slurmrestd(layout: Layout) -> Daemon:
    """Return slurmrestd, which authenticates clients by JWT."""
    address, port = layout.listeners["slurmrestd"]
    return Daemon(
        layout,
        "slurmrestd",
        ("slurmrestd", "-a", "rest_auth/jwt", "-t", "4", f"{address}:{port}", f"unix:{layout.restd_socket}"),
        slurm=True,
        user=RESTD,
        environment={"SLURM_JWT": "daemon"},
        ready=lambda: _http_answers(address, port),
        stop_seconds=0.2,  # slurmrestd 22.05 ignores SIGTERM, and has no state to save
    )


def all_of(layout: Layout, groups: Mapping[Path, Path]) -> dict[str, Daemon]:
    """Return all daemons by name, in the order of their dependencies; a slurmd has the name of its node."""
    every = [munged(layout), mariadbd(layout), slurmdbd(layout), slurmctld(layout)]
    every += [slurmd(layout, node, groups) for node in NODES]
    every.append(slurmrestd(layout))
    return {daemon.name: daemon for daemon in every}


def _succeeds(layout: Layout, *argv: str) -> bool:
    return clients.attempt(layout, argv, seconds=10).returncode == 0


def _node_serves(layout: Layout, node: str) -> bool:
    """Return whether it listens and has registered with slurmctld: a star after its state means not (sinfo(1))."""
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
