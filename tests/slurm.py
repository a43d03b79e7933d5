"""A real Slurm for tests: a cluster of its own (deploy/devcluster), with its daemons to stop, kill and start."""

import contextlib
import dataclasses
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from deploy.devcluster import clients, processes
from deploy.devcluster.cluster import Cluster, check_ports, has_cgroups
from deploy.devcluster.errors import DevclusterError, UsageError
from deploy.devcluster.layout import NODES, Layout
from deploy.devcluster.slurm_conf import Shape
from deploy.devcluster.users import USERS

NUMBERS = range(20, 200)  # those below are for people


class Slurm:
    """A cluster that runs."""

    users = USERS
    nodes = NODES

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.layout = cluster.layout
        self.folder = cluster.layout.folder
        self.env = clients.environment(cluster.layout)
        self.slurm_conf = cluster.layout.slurm_conf
        self.restd_url = cluster.layout.restd_url
        self.restd_socket = cluster.layout.restd_socket

    def address(self, node: str) -> str:
        """The loopback address of a node."""
        return self.layout.address(node)

    def run(self, *argv: str, user: str = "", given: str = "", seconds: float = 30) -> str:
        """What a command prints (as root, or as `user` in its home); a failure is an AssertionError with its words."""
        try:
            return clients.run(self.layout, argv, user=user, given=given, seconds=seconds)
        except DevclusterError as error:
            raise AssertionError(str(error)) from None

    def attempt(self, *argv: str, user: str = "", given: str = "", seconds: float = 30):
        """The same, but the answer is the finished process, whether it failed or not."""
        return clients.attempt(self.layout, argv, user=user, given=given, seconds=seconds)

    def sbatch(self, *options: str, script: str, user: str = "alice") -> str:
        """Submit a script as a user; the job's id."""
        return self.run("sbatch", "--parsable", "--output=/dev/null", *options, user=user, given=script).strip()

    def state(self, job: str) -> str:
        """The state of a job by scontrol, in capitals (RUNNING); empty when Slurm has forgotten it."""
        return self.field(job, "JobState")

    def field(self, job: str, name: str) -> str:
        """One field of `scontrol show job`; empty when it is not there."""
        words = self.attempt("scontrol", "--oneliner", "show", "job", job).stdout.split()
        return next((word.partition("=")[2] for word in words if word.startswith(f"{name}=")), "")

    def jwt(self, user: str, seconds: int = 3600) -> str:
        """A token for slurmrestd."""
        return self.run("scontrol", "token", f"username={user}", f"lifespan={seconds}").strip().partition("=")[2]

    def sacct(self, job: str, field: str) -> str:
        """One field of the job itself (not of its steps) in the database; empty while it is not there."""
        return self.run("sacct", "-nPX", "--jobs", job, f"--format={field}").strip()

    def runs(self, command: str) -> bool:
        """Whether a process of this command of Slurm's runs, on this cluster; another Debian's has its loader's name."""
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_text().split("\0") if entry.name.isdigit() else ()
                ours = any(Path(word).name == command for word in words)
                if ours and str(self.slurm_conf) in (entry / "environ").read_text():
                    return True
        return False

    def save(self) -> None:
        """Return when slurmctld has written down all that it knows; it does so every few seconds, a crash forgets the rest."""
        state = self.layout.state / "slurmctld" / "part_state"  # written in the same round as the jobs, after them
        before = state.stat().st_mtime_ns if state.exists() else 0
        self.run("scontrol", "update", "PartitionName=cpu", "State=UP")
        end = time.monotonic() + 90
        while not state.exists() or state.stat().st_mtime_ns == before:
            assert time.monotonic() < end, "slurmctld does not save its state"
            time.sleep(0.05)

    def resume(self, node: str) -> None:
        """Let a drained node have jobs again.

        A slurmctld that has just begun refuses until the node is heard of; 24.11 does it then, and says that it does not.
        """
        end = time.monotonic() + 90
        while (done := self.attempt("scontrol", "update", f"NodeName={node}", "State=RESUME")).returncode:
            if "drain" not in self.run("sinfo", "-h", "-n", node, "-o", "%T"):
                return
            assert time.monotonic() < end, done.stderr
            time.sleep(0.1)

    def daemon(self, name: str) -> "FaultyDaemon":
        """munged, mariadbd, slurmdbd, slurmctld, slurmrestd; a slurmd goes by its node's name."""
        return FaultyDaemon(self, name)

    def mend(self) -> None:
        """Every daemon runs."""
        for name, daemon in self.cluster.daemons.items():
            self.daemon(name).sigcont()
            if not daemon.alive:
                daemon.start()

    def reset(self) -> None:
        """Mend what a test did: all daemons run, no job, no reservation, every node idle and every partition up."""
        self.mend()
        for partition in ("cpu", "gpu"):
            self.run("scontrol", "update", f"PartitionName={partition}", "State=UP")
        if self.run("squeue", "--noheader"):
            for user in self.users:
                self.run("scancel", f"--user={user}")
        end = time.monotonic() + 120
        while unrest := self._unrest():
            assert time.monotonic() < end, f"the cluster does not come to rest: {unrest}"
            time.sleep(0.1)

    def _unrest(self) -> list[str]:
        """What is not as it was at first; what can be done about it is done on the way."""
        jobs = self.run("squeue", "--noheader", "--format=job %i %T").splitlines()
        reservations = [
            line.split()[0]
            for line in self.run("scontrol", "--oneliner", "show", "reservation").splitlines()
            if line.startswith("ReservationName=")
        ]
        for reservation in reservations:  # refused while a job is in it
            self.attempt("scontrol", "delete", reservation)
        nodes = [
            line for line in self.run("sinfo", "-h", "-N", "-o", "%N %t").splitlines() if not line.endswith(" idle")
        ]
        for node, state in (line.split() for line in nodes):
            if state.startswith(("drain", "drng", "down")):
                self.attempt("scontrol", "update", f"NodeName={node}", "State=RESUME")
        return jobs + reservations + nodes


class FaultyDaemon:
    """A daemon for fault tests."""

    def __init__(self, slurm: Slurm, name: str) -> None:
        self._daemon = slurm.cluster.daemons[name]

    @property
    def alive(self) -> bool:
        """Whether it runs (also while it is stopped by a signal)."""
        return self._daemon.alive

    @property
    def pid(self) -> int:
        """Its process."""
        process = self._daemon.process
        assert process is not None, f"{self._daemon.name} does not run"
        return process.pid

    def stop(self) -> None:
        """End it as an operator does."""
        self._daemon.stop()

    def kill(self) -> None:
        """End it as a crash does."""
        self._daemon.kill()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._daemon.start()

    def sigstop(self) -> None:
        """Let it hang."""
        self._signal(signal.SIGSTOP)

    def sigcont(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        process = self._daemon.process
        if process is not None:
            process.signal(number)


@contextlib.contextmanager
def running(*, cpus: int = 8) -> Iterator[Slurm]:
    """A cluster in a folder and with a number of its own; gone afterwards.

    Its Slurm is this machine's, or that of the folder which TOWPATH_TEST_DEBIAN names (`make test-slurm-versions`).
    """
    debian = os.environ.get("TOWPATH_TEST_DEBIAN")
    _bury_the_dead()
    with place() as found:
        layout = dataclasses.replace(found, debian=Path(debian) if debian else None)
        cluster = Cluster(layout, Shape(cpus=cpus, cgroups=has_cgroups(layout)))
        try:
            cluster.up(lambda _: None)
        except DevclusterError as error:
            raise AssertionError(f"These tests need a Slurm on this machine. {error}") from None
        try:
            yield Slurm(cluster)
        finally:
            cluster.down(lambda _: None)


def _folder(number: int) -> Path:
    return Path(f"/tmp/towpath-c{number}")


def _owner(folder: Path) -> Path:
    return folder.with_suffix(".owner")


@contextlib.contextmanager
def place() -> Iterator[Layout]:
    """A number that nobody has, held by a file that only one can make."""
    me = processes.Process.of(os.getpid())
    assert me is not None
    for number in NUMBERS:
        layout = Layout(_folder(number), number)
        try:
            with _owner(layout.folder).open("x") as owner:
                owner.write(f"{me.pid} {me.start}\n")
        except FileExistsError:
            continue
        try:
            try:
                check_ports(layout)
            except UsageError:
                continue
            yield layout
        finally:
            _owner(layout.folder).unlink()
        return
    raise AssertionError("no number is free for a cluster")


def _bury_the_dead() -> None:
    """Remove the clusters of test runs that were killed."""
    for number in NUMBERS:
        record = _owner(_folder(number))
        owner = processes.recorded(record)
        if owner is not None and not owner.alive:
            Cluster(Layout(_folder(number), number)).down(lambda _: None)
            record.unlink(missing_ok=True)
