"""The controller, and the program that runs as the user, killed at every step: never two jobs, never an orphan."""

import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path

import pytest
from msgspec.structs import replace

from batch.authority.authority import ensure_authority
from batch.contract import JobState, LauncherError
from batch.launchers.ssh.native_id import parse
from state.records.models import Status
from tests.batch.apps import app
from tests.batch.launchers.local.making import HOMES, jobs_of, users_maker
from tests.batch.launchers.ssh.jobs import end, spec_of, until_view
from tests.batch.rig import Rig, ask, by_attempt, fresh
from tests.batch.test_controller import becomes, stop, with_store
from tests.conftest import run, until
from tests.users.users_hub import short

pytestmark = pytest.mark.faults

CONFIG = """
[gateway]
internal_url = "https://127.0.0.1:9"
[[cluster]]
name = "lab"
kind = "local"
tick = 0.2
start_window = 120
[cluster.local]
run_as = "user"
timeout = 10
[[profile]]
name = "stub"
cluster = "lab"
command = {command}
"""


class UsersRig(Rig):
    """A controller as a process. Jobs cannot report: it sees from their folders that they are ready."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self.data_dir = folder / "data"
        self.data_dir.mkdir(mode=0o700)
        self.config = folder / "towpath.toml"
        self.processes = []
        self.log = folder / "controller.log"
        self.asked: list[str] = []
        self.config.write_text(CONFIG.format(command=json.dumps(["/usr/bin/python3", *app()[1:]])))
        ensure_authority(self.data_dir)

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        kill_all(self.asked)

    async def ask(self, store, user="alice"):
        asked = await ask(store, replace(fresh(user), cluster="lab"))
        self.asked.append(asked.attempt)
        return asked


def starters(attempt):
    """The pids of the processes whose command line names the attempt: its starter and the starter's helpers."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if attempt.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def kill_all(attempts):
    """Kill what is left of these jobs: the guard before what it would start again."""
    for attempt in attempts:
        for pid in (*sorted(starters(attempt)), *by_attempt().get(attempt, [])):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def first_of(pids):
    """Those of the processes whose parent is none of them."""
    parents = {pid: int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1]) for pid in pids}
    return [pid for pid, parent in parents.items() if parent not in pids]


@pytest.fixture
def rig(users, short_folder, store_url):
    rig = UsersRig(short(short_folder), store_url)
    yield rig
    rig.close()


@pytest.mark.parametrize("point", ["before-submit", "after-place", "after-submit", "after-save"])
def test_a_controller_that_dies_while_it_starts_a_server_leaves_one_job_and_it_comes_up(rig, point):
    async def body(store):
        first = rig.start(fault=point)
        asked = await rig.ask(store)
        await asyncio.to_thread(first.wait, 60)
        assert first.returncode == -signal.SIGKILL
        rig.start()
        ready = await becomes(store, Status.READY)
        assert ready.attempt == asked.attempt
        assert ready.endpoint.kind == "tls"
        assert first_of(starters(asked.attempt)) == [parse(ready.job.native_id).pid]
        assert len(by_attempt()[asked.attempt]) == 1
        await stop(store)
        await becomes(store, Status.STOPPED)
        await until(lambda: not by_attempt().get(asked.attempt))

    with_store(rig.url, body)


@pytest.mark.parametrize("point", ["before-cancel", "after-cancel", "after-save"])
def test_a_controller_that_dies_while_it_stops_a_server_leaves_no_job_and_no_process(rig, point):
    async def body(store):
        first = rig.start()
        asked = await rig.ask(store)
        await becomes(store, Status.READY)
        first.kill()
        await asyncio.to_thread(first.wait, 30)
        second = rig.start(fault=point)
        await stop(store)
        await asyncio.to_thread(second.wait, 60)
        assert second.returncode == -signal.SIGKILL
        rig.start()
        await becomes(store, Status.STOPPED)
        await until(lambda: not by_attempt().get(asked.attempt))
        assert not starters(asked.attempt)
        assert not list(Path("/sys/fs/cgroup").glob(f"*/towpath/{asked.attempt}"))

    with_store(rig.url, body)


def test_an_empty_store_gets_its_servers_back_from_the_users_folders(rig, valkey):
    async def body(store):
        first = rig.start()
        asked = await rig.ask(store)
        ready = await becomes(store, Status.READY)
        first.kill()
        await asyncio.to_thread(first.wait, 30)
        valkey.command("FLUSHALL")
        rig.start()
        found = await becomes(store, Status.READY)
        assert (found.attempt, found.credential, found.endpoint) == (asked.attempt, ready.credential, ready.endpoint)
        await stop(store)
        await becomes(store, Status.STOPPED)
        await until(lambda: not by_attempt().get(asked.attempt))

    with_store(rig.url, body)


DYING = """#!/usr/bin/python3 -IS
import os, signal, sys
code, step = sys.argv[4], {step!r}
if "sys.stdin.buffer.read" not in code or not os.path.exists(step):
    os.execv("/usr/bin/python3", ["/usr/bin/python3", *sys.argv[1:]])
left, pid = [int(open(step).read())], os.getpid()
def dying(function):
    def called(*args, **more):
        result = function(*args, **more)
        if os.getpid() == pid and (function is not opened or args[1] & os.O_CREAT):
            left[0] -= 1
            if not left[0]:
                unlink(step)
                os.kill(pid, signal.SIGKILL)
        return result
    return called
unlink, opened = os.unlink, os.open
for name in ("open", "rename", "fork"):
    setattr(os, name, dying(getattr(os, name)))
sys.argv[1:] = []
exec(code)
"""


def test_the_users_program_that_is_killed_at_any_step_leaves_one_job_or_none(users):
    """It is killed after each file that it creates or renames, and after the fork. The next submit continues from there."""
    step = HOMES / "alice" / f"step-{os.getpid()}"
    program = users / "python"
    program.write_text(DYING.format(step=str(step)))
    program.chmod(0o755)
    facts = step.parent.stat()
    make = users_maker(python=str(program))
    died, attempts = 0, []

    async def one(number):
        """Whether the program was killed at this step."""
        launcher = make()
        spec = spec_of("alice", grace=0.2)
        spec = replace(spec, record=replace(spec.record, job=await launcher.place(spec)))
        step.write_text(str(number))
        os.chown(step, facts.st_uid, facts.st_gid)
        attempts.append(spec.attempt)
        try:
            ref = await launcher.submit(spec)
        except LauncherError as error:
            assert error.transient, error
            assert "was killed" in str(error)
            killed = True
            again = make()  # as a controller that has started since
            ref = await again.submit(replace(spec, again=True))
            await again.close()
        else:
            killed = not step.exists()
        spec = replace(spec, record=replace(spec.record, job=ref))
        await until(lambda: by_attempt().get(spec.attempt))
        await until_view(launcher, spec, lambda seen: seen.state is JobState.ACTIVE)
        place = parse(ref.native_id)
        assert first_of(starters(spec.attempt)) == [place.pid]
        assert len(by_attempt()[spec.attempt]) == 1
        assert json.loads((jobs_of("alice") / spec.attempt / "job.json").read_text())["pid"] == place.pid
        await end(launcher, spec)
        await until(lambda: not starters(spec.attempt))
        await launcher.close()
        return killed

    try:
        while run(one(died + 1)):
            died += 1
    finally:
        step.unlink(missing_ok=True)
        kill_all(attempts)
    assert died >= 6
