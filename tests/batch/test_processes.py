"""What is left of a program that started a daemon: nothing of ours."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest

from batch.contract import LauncherError
from batch.hooks.process import HookFailedError
from batch.hooks.process import run as run_hook
from batch.launchers.local.become import converse
from tests.conftest import run

DAEMON = "setsid sh -c 'echo $$ >%s; exec sleep 600' &\n%s"
"""A process that leaves the group and keeps its parent's pipes."""


@pytest.mark.parametrize("end", ["", "exec sleep 600"], ids=["ends", "hangs"])
@pytest.mark.parametrize("caller", ["converse", "hook"])
def test_a_daemon_that_keeps_the_pipes_of_its_parent_costs_no_descriptors(caller, end, tmp_path):
    note = tmp_path / "pid"
    argv = ("/bin/sh", "-c", DAEMON % (note, end))

    async def once():
        if caller == "hook":
            await run_hook(argv, b"{}", os.environ, seconds=1)
            return
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )
        await converse(process, b"", seconds=1)

    async def body():
        before = None
        for _ in range(3):
            with contextlib.suppress(LauncherError, HookFailedError):
                await once()
            os.kill(int(note.read_text()), 0)  # the daemon lives
            daemons.append(int(note.read_text()))
            await asyncio.sleep(0)  # the transports close their descriptors in the loop
            now = len(list(Path("/proc/self/fd").iterdir()))
            before = before or now
            assert now == before

    daemons = []
    try:
        run(body())
    finally:
        for pid in daemons:
            os.kill(pid, signal.SIGKILL)
