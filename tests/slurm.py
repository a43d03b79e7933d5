"""A real Slurm cluster for tests (deploy/devcluster), whose daemons can be stopped, killed and started."""

import contextlib
import dataclasses
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from deploy.devcluster import clients, processes
from deploy.devcluster.cluster import SACCTMGR_FAILS, Cluster, check_ports, has_cgroups
from deploy.devcluster.errors import DevclusterError, UsageError
from deploy.devcluster.layout import NODES, Layout
from deploy.devcluster.slurm_conf import Shape, slurm_conf
from deploy.devcluster.users import USERS

NUMBERS = range(20, 200)  # lower ones are for manual use
REQUEUED_SECONDS = 2


class Slurm:
    """A running cluster."""

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
        """Return the loopback address of a node."""
        return self.layout.address(node)

    def run(self, *argv: str, user: str = "", stdin: str = "", seconds: float = 30) -> str:
        """Run a command (as root, or as `user` in its home) and return its output. Raises AssertionError on failure."""
        try:
            return clients.run(self.layout, argv, user=user, stdin=stdin, seconds=seconds)
        except DevclusterError as error:
            raise AssertionError(str(error)) from None

    def attempt(self, *argv: str, user: str = "", stdin: str = "", seconds: float = 30):
        """Run a command and return the finished process, which may have failed."""
        return clients.attempt(self.layout, argv, user=user, stdin=stdin, seconds=seconds)

    def sbatch(self, *options: str, script: str, user: str = "alice") -> str:
        """Submit a script as a user and return the job's id."""
        return self.run("sbatch", "--parsable", "--output=/dev/null", *options, user=user, stdin=script).strip()

    def state(self, job: str) -> str:
        """Return the state of a job from scontrol (RUNNING), or `""` if Slurm has forgotten it."""
        return self.field(job, "JobState")

    def until(self, job: str, *states: str, seconds: float = 90) -> None:
        """Return when the job is in one of these states (`""`: forgotten)."""
        end = time.monotonic() + seconds
        while (state := self.state(job)) not in states:
            assert time.monotonic() < end, f"job {job} is {state}, {self.field(job, 'Reason')}"
            time.sleep(0.1)

    def field(self, job: str, name: str) -> str:
        """Return one field of `scontrol show job`, or `""`."""
        fields = self.attempt("scontrol", "--oneliner", "show", "job", job).stdout.split()
        return next((word.partition("=")[2] for word in fields if word.startswith(f"{name}=")), "")

    def start_requeued(self, job: str) -> None:
        """Start a requeued job without the 120 s that slurmctld makes it wait. Return when it runs.

        slurmctld sets them when the last run has been cleaned up (batch_requeue_fini in job_mgr.c), 24.11 also before.
        A start time that is set before that is lost, so it is set again until the job runs. It is not set to now:
        slurmd refuses a run whose credential is of the second in which the last run was ended, or earlier ("Job
        credential revoked", slurm_cred_revoked in slurm_cred.c), and the job fails.
        """
        end = time.monotonic() + 90
        while (state := self.state(job)) not in ("CONFIGURING", "RUNNING"):
            assert time.monotonic() < end, f"job {job} is {state}, {self.field(job, 'Reason')}"
            if self._eligible(job) > time.time() + REQUEUED_SECONDS + 1:
                self.attempt("scontrol", "update", f"JobId={job}", f"StartTime=now+{REQUEUED_SECONDS}")
            time.sleep(0.1)

    def _eligible(self, job: str) -> float:
        """Return the time from which the job may start; 0: it is not known."""
        eligible = self.field(job, "EligibleTime")
        return time.mktime(time.strptime(eligible, "%Y-%m-%dT%H:%M:%S")) if eligible[:1].isdigit() else 0.0

    def jwt(self, user: str, seconds: int = 3600) -> str:
        """Return a token for slurmrestd."""
        return self.run("scontrol", "token", f"username={user}", f"lifespan={seconds}").strip().partition("=")[2]

    def sacct(self, job: str, field: str) -> str:
        """Return one field of the job (not of its steps) from the database, or `""` while it is not there."""
        return self.run("sacct", "-nPX", "--jobs", job, f"--format={field}").strip()

    def runs(self, command: str) -> bool:
        """Return whether a process of this Slurm command is running on this cluster.

        The process of another Debian's command has the name of its loader, so its arguments are searched.
        """
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                arguments = (entry / "cmdline").read_text().split("\0") if entry.name.isdigit() else ()
                ours = any(Path(argument).name == command for argument in arguments)
                if ours and str(self.slurm_conf) in (entry / "environ").read_text():
                    return True
        return False

    def save(self) -> None:
        """Wait until slurmctld has saved its state. It does so every few seconds; a crash loses later changes."""
        state = self.layout.state / "slurmctld" / "part_state"  # written in the same round as the jobs, after them
        before = changed_at(state)
        self.run("scontrol", "update", "PartitionName=cpu", "State=UP")
        end = time.monotonic() + 90
        while changed_at(state) in (0, before):
            assert time.monotonic() < end, "slurmctld does not save its state"
            time.sleep(0.05)

    def reconfigure(self, *lines: str) -> None:
        """Start slurmctld again with further lines in slurm.conf; without any it is as it was at first."""
        shape = dataclasses.replace(self.cluster.shape, lines=lines)
        self.slurm_conf.write_text(slurm_conf(self.layout, shape))
        self.daemon("slurmctld").stop()
        self.daemon("slurmctld").start()

    def sacctmgr(self, *commands: str) -> None:
        """Run commands in one sacctmgr. A failure is an AssertionError with its output."""
        done = self.attempt("sacctmgr", "--immediate", "--quiet", stdin="".join(f"{one}\n" for one in commands))
        output = done.stdout + done.stderr
        assert not done.returncode, output
        assert not any(sign in output for sign in SACCTMGR_FAILS), output

    def resume(self, node: str) -> None:
        """Resume a drained node.

        A slurmctld that has just started refuses until the node has registered. 24.11 then does it but reports a
        failure.
        """
        end = time.monotonic() + 90
        while (done := self.attempt("scontrol", "update", f"NodeName={node}", "State=RESUME")).returncode:
            if "drain" not in self.run("sinfo", "-h", "-n", node, "-o", "%T"):
                return
            assert time.monotonic() < end, done.stderr
            time.sleep(0.1)

    def daemon(self, name: str) -> "FaultyDaemon":
        """Return munged, mariadbd, slurmdbd, slurmctld, slurmrestd, or a slurmd by its node's name."""
        return FaultyDaemon(self, name)

    def start_daemons(self) -> None:
        """Continue or start every daemon that is not running."""
        for name, daemon in self.cluster.daemons.items():
            self.daemon(name).sigcont()
            if not daemon.alive:
                daemon.start()

    def reset(self) -> None:
        """Undo what a test did: daemons running, no jobs, no reservations, nodes idle, partitions up."""
        self.start_daemons()
        for partition in ("cpu", "gpu"):
            self.run("scontrol", "update", f"PartitionName={partition}", "State=UP")
        if self.run("squeue", "--noheader"):
            for user in self.users:
                self.run("scancel", f"--user={user}")
        end = time.monotonic() + 120
        while unrest := self._unrest():
            assert time.monotonic() < end, f"the cluster does not become idle: {unrest}"
            time.sleep(0.1)

    def _unrest(self) -> list[str]:
        """Return what differs from the initial state, after trying to restore it."""
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


def changed_at(path: Path) -> int:
    """Return when a file was last changed, in ns; 0 while there is none, as between two steps of slurmctld's saving."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


class FaultyDaemon:
    """A daemon for fault tests."""

    def __init__(self, slurm: Slurm, name: str) -> None:
        self._daemon = slurm.cluster.daemons[name]

    @property
    def alive(self) -> bool:
        """Whether it is running, or stopped by a signal."""
        return self._daemon.alive

    @property
    def pid(self) -> int:
        """The pid of its process."""
        process = self._daemon.process
        assert process is not None, f"{self._daemon.name} is not running"
        return process.pid

    def stop(self) -> None:
        """Stop it as an operator does."""
        self._daemon.stop()

    def kill(self) -> None:
        """Kill it as in a crash."""
        self._daemon.kill()

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self._daemon.start()

    def sigstop(self) -> None:
        """Make it hang."""
        self._signal(signal.SIGSTOP)

    def sigcont(self) -> None:
        """Continue it."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        process = self._daemon.process
        if process is not None:
            process.signal(number)


@contextlib.contextmanager
def running(*, cpus: int = 8) -> Iterator[Slurm]:
    """Start a cluster with its own folder and number, and remove it afterwards.

    It uses this machine's Slurm, or the one in the folder named by TOWPATH_TEST_DEBIAN (`make test-slurm-versions`).
    """
    debian = os.environ.get("TOWPATH_TEST_DEBIAN")
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
    """Reserve a free cluster number with a file that only one process can create."""
    me = processes.Process.of(os.getpid())
    assert me is not None
    with _numbers_locked():
        _remove_abandoned()
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


@contextlib.contextmanager
def _numbers_locked() -> Iterator[None]:
    """Let one test process at a time look for abandoned clusters.

    Two that found the same one would both remove it, and the second might remove the cluster that has its number by
    then. The lock is on the folder itself, so that it leaves no file behind.
    """
    folder = os.open("/tmp", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _remove_abandoned() -> None:
    """Remove the clusters of test runs that were killed."""
    for number in NUMBERS:
        record = _owner(_folder(number))
        owner = processes.recorded(record)
        if owner is not None and not owner.alive:
            Cluster(Layout(_folder(number), number)).down(lambda _: None)
            record.unlink(missing_ok=True)
