"""What the package's own tests are: the contract's suite, on its launcher."""

import contextlib
import json
import os
import signal
import subprocess
import time

import pytest
from towpath_moon.launcher import MoonLauncher, start_time

from batch.contract_suite import ContractCluster, LauncherContract


class TestMoon(LauncherContract):
    @pytest.fixture
    def cluster(self, tmp_path):
        def give_away(ref, attempt):
            return reused(tmp_path / attempt / "job.json")

        return ContractCluster(lambda: MoonLauncher("moon", tmp_path), give_away)


@contextlib.contextmanager
def reused(path):
    """The job's process ends, and its id becomes that of another one."""
    job = json.loads(path.read_text())
    os.kill(job["pid"], signal.SIGTERM)
    while start_time(job["pid"]):
        time.sleep(0.01)
    process = subprocess.Popen(["/bin/sleep", "1000"])
    while start_time(process.pid) == job["start"]:  # in the same clock tick, it could be the job
        process.kill()
        process.wait()
        process = subprocess.Popen(["/bin/sleep", "1000"])
    path.write_text(json.dumps({**job, "pid": process.pid}))
    try:
        yield lambda: process.poll() is None
    finally:
        process.kill()
        process.wait()
