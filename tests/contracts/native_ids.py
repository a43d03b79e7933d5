"""Native ids that belong to something else by now, on each kind of cluster in the tests.

A function per kind gives away the native id of a submitted job, and returns a check that its new owner is alive.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from batch.launchers.ssh.native_id import parse
from state.records.models import JobRef
from tests.batch.rig import by_attempt
from tests.contracts.fake_launcher import FakeLauncher
from tests.hub import eventually
from tests.sshd import Pool

Alive = Callable[[], bool]
GiveAway = Callable[[JobRef, str], "contextlib.AbstractContextManager[Alive]"]


def on_slurm(slurm: Any) -> GiveAway:
    """Rename the job, which makes it a job of the user's own with the same id."""

    @contextlib.contextmanager
    def give_away(ref: JobRef, attempt: str):
        assert slurm.field(ref.native_id, "JobName") == f"towpath-{attempt}"
        slurm.run("scontrol", "update", f"JobId={ref.native_id}", "Name=my-own", "Comment=mine")
        try:
            yield lambda: slurm.state(ref.native_id) in ("PENDING", "RUNNING")
        finally:
            slurm.run("scancel", ref.native_id)

    return give_away


def on_fake_pyslurm(folder: Path) -> GiveAway:
    """The same, in the file that is the fake's cluster."""
    path = folder / "cluster.json"

    @contextlib.contextmanager
    def give_away(ref: JobRef, attempt: str):
        with path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            jobs = json.load(file)
            job = jobs[int(ref.native_id) - 1]
            assert job["name"] == f"towpath-{attempt}"
            job["name"], job["comment"] = "my-own", "mine"
            file.seek(0)
            file.truncate()
            json.dump(jobs, file)
        yield lambda: json.loads(path.read_text())[int(ref.native_id) - 1]["state"] in ("PENDING", "RUNNING")

    return give_away


def on_local(jobs: Path) -> GiveAway:
    """Kill the job's processes, and reuse their ids for another process."""

    @contextlib.contextmanager
    def give_away(ref: JobRef, attempt: str):
        path = jobs / attempt / "job.json"
        pids = lambda: by_attempt().get(attempt, [])  # noqa: E731
        assert eventually(lambda: json.loads(path.read_text())["app"], what="the app")
        for pid in pids():
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: not pids(), what="the end of the job's processes")
        process = subprocess.Popen(
            ["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={}, start_new_session=True
        )
        assert process.stdin is not None
        assert process.stdout is not None
        word = json.loads(path.read_text())
        path.write_text(json.dumps({**word, "pid": process.pid, "app": process.pid}))

        def alive() -> bool:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(b"still there\n")  # a signal comes before the next line is read
                process.stdin.flush()
            return process.stdout.readline() == b"still there\n"

        try:
            yield alive
        finally:
            process.kill()
            process.communicate()

    return give_away


def on_ssh(pool: Pool) -> GiveAway:
    """Kill the job's processes, and reuse their ids for another process of the host."""

    @contextlib.contextmanager
    def give_away(ref: JobRef, attempt: str):
        place = parse(ref.native_id)
        assert place is not None
        host = pool.hosts[place.host]
        path = host.homes / place.account / ".towpath" / "jobs" / attempt / "job.json"
        assert eventually(lambda: json.loads(path.read_text())["app"], what="the app")
        for pid in by_attempt()[attempt]:
            os.kill(pid, signal.SIGKILL)
        for pid in host.processes(attempt):
            host.run("kill", "-9", str(pid), check=False)
        eventually(lambda: not by_attempt().get(attempt) and not host.processes(attempt), what="the end of the job")
        process = subprocess.Popen(
            [*host.inside(place.account), "/bin/cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"up\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"up\n"
        inner = host.inner_pid(process.pid)
        path.write_text(json.dumps({**json.loads(path.read_text()), "pid": inner, "app": inner}))

        def alive() -> bool:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(b"still there\n")
                process.stdin.flush()
            return process.stdout.readline() == b"still there\n"

        try:
            yield alive
        finally:
            process.kill()
            process.communicate()

    return give_away


def on_fake(fake: FakeLauncher) -> GiveAway:
    """Let the fake forget the job, and give its id to another one."""

    @contextlib.contextmanager
    def give_away(ref: JobRef, attempt: str):
        other = "f" * 32
        fake.jobs[other] = replace(fake.jobs.pop(attempt), attempt=other)
        yield lambda: not fake.jobs[other].state.final

    return give_away
