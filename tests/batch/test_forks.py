"""The fork server: what it inherits, and what remains of a submit when it dies at any step. Real processes."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from batch.contract import JobState, LauncherError
from batch.launchers.local import forks
from batch.launchers.local.folder import is_alive
from batch.launchers.local.launcher import LocalLauncher
from tests.batch.apps import app, script
from tests.batch.rig import ROOT, by_attempt
from tests.batch.test_local import over, ready, start_of
from tests.conftest import run, until
from tests.contracts.test_launcher import job, spec_of

CRASHING = """
import os
real = os.fork
def fork():
    if os.path.exists({flag!r}):
        {first}
    pid = real()
    if pid and os.path.exists({flag!r}):
        {after}
    return pid
os.fork = fork
exec(compile(open({program!r}).read(), {program!r}, "exec"))
"""
GONE = "os.unlink({flag!r}); os.kill(os.getpid(), 9)"
HELD = "os.unlink({flag!r}); os.kill(os.getpid(), 19)"
ALWAYS = "os.kill(os.getpid(), 9)"


@pytest.fixture
def jobs(short_folder):
    folder = short_folder / f"forks-{time.monotonic_ns()}"
    folder.mkdir()
    yield folder / "jobs"
    for path in (folder / "jobs").glob("*/job.json"):
        for pid in by_attempt().get(path.parent.name, []):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def crashing(jobs, monkeypatch):
    """A fork server that fails while the flag exists; return a function that sets the flag."""

    def make(*, first="pass", after="pass"):
        flag = jobs.parent / "flag"
        flag.touch()
        program = jobs.parent / "crashing.py"
        real, flag_text = str(forks.FORKSERVER), str(flag)
        text = CRASHING.format(
            flag=flag_text, program=real, first=first.format(flag=flag_text), after=after.format(flag=flag_text)
        )
        program.write_text(text)
        monkeypatch.setattr(forks, "FORKSERVER", program)
        return flag

    return make


def server_of(launcher) -> int:
    assert launcher._forks._server is not None
    return launcher._forks._server.pid


def processes_of(jobs, attempt):
    return json.loads((jobs / attempt / "job.json").read_text())


def test_one_fork_server_serves_all_jobs_and_keeps_nothing_of_them(jobs):
    async def body():
        launcher, specs = LocalLauncher("here", jobs), [spec_of(report_token="s3cret-token") for _ in range(3)]
        for spec in specs:
            await launcher.submit(spec)
            await ready(launcher, spec.attempt)
        pid = server_of(launcher)
        held = sorted(int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir())
        assert held == [0, 1, 2, 3]
        for name in ("cmdline", "environ"):
            assert b"s3cret" not in Path(f"/proc/{pid}/{name}").read_bytes()
        starters = {processes_of(jobs, spec.attempt)["pid"] for spec in specs}
        assert len(starters) == 3
        for starter in starters:
            assert os.getsid(starter) == starter
        for spec in specs:
            await launcher.cancel(None, spec.attempt)
            await over(launcher, spec.attempt)
        await launcher.close()
        assert not Path(f"/proc/{pid}").exists()

    run(body())


def test_jobs_continue_without_the_fork_server_and_the_next_submit_starts_another(jobs):
    async def body():
        launcher, spec, later = LocalLauncher("here", jobs), spec_of(), spec_of()
        await launcher.submit(spec)
        await ready(launcher, spec.attempt)
        first = server_of(launcher)
        os.kill(first, signal.SIGKILL)
        async with job(launcher, later):
            await ready(launcher, later.attempt)
            assert server_of(launcher) != first
            word = processes_of(jobs, spec.attempt)
            assert is_alive(word["pid"], word["start"])
            assert (await launcher.poll())[spec.attempt].state is JobState.ACTIVE
        await launcher.cancel(None, spec.attempt)
        assert (await over(launcher, spec.attempt)).state is JobState.CANCELED
        await launcher.close()

    run(body())


def test_after_a_death_before_the_fork_the_same_submit_succeeds(jobs, crashing):
    async def body():
        flag = crashing(first=GONE)
        launcher, spec = LocalLauncher("here", jobs), spec_of()
        async with job(launcher, spec) as ref:
            assert not flag.exists()
            view = await ready(launcher, spec.attempt)
            assert view.native_id == ref.native_id != ""
            assert len(by_attempt()[spec.attempt]) == 1
        await launcher.close()

    run(body())


def test_a_death_between_the_fork_and_its_answer_does_not_start_a_second_process(jobs, crashing):
    async def body():
        flag = crashing(after=GONE)
        launcher, spec = LocalLauncher("here", jobs), spec_of()
        async with job(launcher, spec) as ref:
            assert not flag.exists()
            view = await ready(launcher, spec.attempt)
            assert view.native_id == ref.native_id != ""
            assert len(by_attempt()[spec.attempt]) == 1
        await launcher.close()

    run(body())


@pytest.mark.parametrize("where", ["first", "after"])
def test_a_hanging_fork_server_is_replaced(jobs, crashing, monkeypatch, where):
    async def body():
        crashing(**{where: HELD})
        monkeypatch.setattr(forks, "ANSWER_SECONDS", 0.5)
        launcher, spec = LocalLauncher("here", jobs), spec_of()
        async with job(launcher, spec) as ref:
            view = await ready(launcher, spec.attempt)
            assert view.native_id == ref.native_id != ""
            assert len(by_attempt()[spec.attempt]) == 1
        await launcher.close()

    run(body())


def test_a_fork_server_that_dies_each_time_is_a_transient_error_and_leaves_a_job_for_a_later_submit(jobs, crashing):
    async def body():
        flag = crashing(first=ALWAYS)
        launcher, spec = LocalLauncher("here", jobs), spec_of()
        with pytest.raises(LauncherError, match="keeps ending") as caught:
            await launcher.submit(spec)
        assert caught.value.transient
        assert (await launcher.poll())[spec.attempt].state is JobState.NEW
        flag.unlink()
        async with job(launcher, spec):
            await ready(launcher, spec.attempt)
        await launcher.close()

    run(body())


def test_a_fork_that_the_machine_refuses_is_a_transient_error(jobs, crashing):
    async def body():
        flag = crashing(first="raise BlockingIOError(11, 'Resource temporarily unavailable')")
        launcher, spec = LocalLauncher("here", jobs), spec_of()
        with pytest.raises(LauncherError) as caught:
            await launcher.submit(spec)
        assert caught.value.transient
        flag.unlink()
        async with job(launcher, spec):
            await ready(launcher, spec.attempt)
        await launcher.close()

    run(body())


def test_many_submits_over_a_dying_fork_server_get_one_process_each(jobs, crashing):
    async def body():
        crashing(after=GONE)
        launcher, specs = LocalLauncher("here", jobs), [spec_of() for _ in range(12)]
        refs = await asyncio.gather(*(launcher.submit(spec) for spec in specs))
        assert len({ref.native_id for ref in refs}) == 12
        for spec in specs:
            await ready(launcher, spec.attempt)
        found = by_attempt()
        assert all(len(found[spec.attempt]) == 1 for spec in specs)
        for spec in specs:
            await launcher.cancel(None, spec.attempt)
        for spec in specs:
            await over(launcher, spec.attempt)
        await launcher.close()

    run(body())


def test_a_starter_that_exits_immediately_does_not_stay_a_zombie(jobs):
    async def body():
        launcher, spec = LocalLauncher("here", jobs), spec_of(command=script("pass"))
        await launcher.submit(spec)
        assert (await over(launcher, spec.attempt)).report.code == "exited"
        pid = processes_of(jobs, spec.attempt)["pid"]
        await until(lambda: not Path(f"/proc/{pid}").exists())
        await launcher.close()

    run(body())


def test_a_fork_server_ends_with_its_launcher_and_the_job_continues(jobs):
    """As when the controller is killed: the fork server notices only that its connection is closed."""
    text = """
import asyncio, sys, msgspec
from pathlib import Path
from batch.contract import JobSpec
from batch.launchers.local.launcher import LocalLauncher
async def main():
    launcher = LocalLauncher("here", Path(sys.argv[1]))
    await launcher.submit(msgspec.json.decode(sys.stdin.buffer.read(), type=JobSpec))
    print(launcher._forks._server.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""

    async def body():
        spec = spec_of(command=app())
        process = subprocess.Popen(
            [sys.executable, "-c", text, str(jobs)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            process.stdin.write(msgspec.json.encode(spec))
            process.stdin.close()
            server = int(await asyncio.to_thread(process.stdout.readline))
            began = start_of(server)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        await until(lambda: not is_alive(server, began))
        launcher = LocalLauncher("here", jobs)
        await ready(launcher, spec.attempt)
        assert (await launcher.poll())[spec.attempt].state is JobState.ACTIVE
        await launcher.cancel(None, spec.attempt)
        await over(launcher, spec.attempt)

    run(body())


@pytest.mark.parametrize(
    ("command", "directory", "words"),
    [
        (("towpath-no-such-program",), "/", "towpath-no-such-program: No such file or directory"),
        (("/proc/self/mounts",), "/", "/proc/self/mounts: Permission denied"),
        (app(), "/no/such/place", "No such file or directory"),
    ],
)
def test_a_fork_says_why_an_app_cannot_be_executed(jobs, command, directory, words):
    async def body():
        launcher, spec = LocalLauncher("here", jobs), spec_of(command=command, directory=directory)
        await launcher.submit(spec)
        report = (await over(launcher, spec.attempt)).report
        assert (report.kind, report.code, report.exit_code) == ("failed", "command", 127)
        assert words in report.message
        await launcher.close()

    run(body())


RUDE = """
import socket, sys, time
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen(64)
for _ in range(60):
    server.accept()[0].close()
while True:
    peer = server.accept()[0]
    peer.recv(4096)
    peer.sendall(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
    peer.close()
"""


def test_an_app_that_closes_connections_unread_does_not_end_its_starter(jobs):
    """A write to a closed connection raises SIGPIPE where that is not ignored, and silently ends a process."""

    async def body():
        launcher, spec = (
            LocalLauncher("here", jobs),
            spec_of(command=("/usr/bin/python3", "-I", "-c", RUDE, "{socket}")),
        )
        async with job(launcher, spec) as ref:
            path = jobs / spec.attempt / "app.sock"
            await until(path.exists)
            for _ in range(40):  # the starter's own probes are too few to meet it for certain
                with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as peer:
                    peer.connect(str(path))
            view = await ready(launcher, spec.attempt)
            assert view.native_id == ref.native_id
            assert processes_of(jobs, spec.attempt).get("takeover", 0) == 0
        await launcher.close()

    run(body())


SHOW = """
import json, os, signal, sys
print(json.dumps([
    os.getpid() == os.getsid(0), os.getcwd(), sorted(map(int, os.listdir("/proc/self/fd")))[:-1],
    signal.getsignal(signal.SIGHUP) == signal.SIG_DFL, len(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    sorted(os.environ),
]))
sys.exit(3)
"""


def test_a_forked_app_has_its_own_session_folder_environment_and_signals(jobs, tmp_path):
    async def body():
        launcher = LocalLauncher("here", jobs)
        (tmp_path / "show").symlink_to(sys.executable)
        environment = {"PATH": f"/no/such:{tmp_path}", "LC_CTYPE": "C.UTF-8"}
        spec = spec_of(command=("show", "-I", "-c", SHOW, "{socket}"), directory=str(tmp_path), environment=environment)
        await launcher.submit(spec)
        report = (await over(launcher, spec.attempt)).report
        assert report.exit_code == 3
        names = ["LC_CTYPE", "PATH", "TOWPATH_ATTEMPT", "TOWPATH_SOCKET"]
        assert json.loads(report.log_tail) == [True, str(tmp_path), [0, 1, 2], True, 0, names]
        await launcher.close()

    run(body())
