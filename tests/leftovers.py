"""What a test's hub must not leave behind: its own processes, and its users' servers on this machine.

Servers outlive a hub on purpose, so a test that starts one must stop it, also if the test fails.
"""

import contextlib
import os
import re
import signal
import time
from pathlib import Path

import pytest

PATIENCE = 30.0
"""Seconds that processes have to end by themselves. It only limits failing tests."""
ATTEMPT = re.compile(rb"(?:^|\0)TOWPATH_ATTEMPT=([0-9a-f]{32})(?:\0|$)")
hubs = []
"""The hubs of this run that were not checked yet."""


def processes_of(data_dir):
    """Return the processes that belong to a data directory: pid -> command line."""
    jobs = data_dir / "jobs"
    attempts = {path.name.encode() for path in jobs.iterdir()} if jobs.is_dir() else set()
    ours = re.compile(re.escape(os.fsencode(data_dir)) + rb"(?:/|\0|$)")
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            mark = ATTEMPT.search((entry / "environ").read_bytes())
            if command and ((mark and mark[1] in attempts) or ours.search(command)):
                found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")[:200]
    return found


def end(data_dir):
    """End the processes that belong to a data directory."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        stop = time.monotonic() + PATIENCE
        for pid in processes_of(data_dir):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        while processes_of(data_dir) and time.monotonic() < stop:
            time.sleep(0.05)


def check(*, every=False):
    """Fail if a hub that was stopped has left processes, and end those. `every`: hubs that run still count, too."""
    over = [hub for hub in hubs if every or hub.process is None]
    for hub in over:
        hubs.remove(hub)
    folders = {hub.data_dir for hub in over} - {hub.data_dir for hub in hubs}
    end = time.monotonic() + PATIENCE
    left = {}
    for folder in folders:
        while (found := processes_of(folder)) and time.monotonic() < end:
            time.sleep(0.05)
        left |= found
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if left:
        pytest.fail("processes were left:\n" + "\n".join(f"{pid} {line}" for pid, line in left.items()), pytrace=False)
