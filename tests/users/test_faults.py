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
from batch.launchers.ssh.native_id import parse
from state.records.models import Status
from tests.batch.apps import app
from tests.batch.rig import Rig, ask, by_attempt, fresh
from tests.batch.test_controller import becomes, stop, with_store
from tests.conftest import until
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
