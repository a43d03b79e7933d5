"""A server in a Slurm job that connects to the hub: reached from every worker, while nothing of the job listens."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

from tests.cluster.faulty import FaultyHub, clear, short
from tests.hub import children
from tests.users.test_reverse import listeners_of


@pytest.fixture
def hub(slurm, short_folder):
    hub = FaultyHub(short(short_folder), slurm, workers=2, cluster='way_in = "reverse"')
    hub.start()
    hub.settled()
    yield hub
    hub.close()


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def test_a_job_is_reached_with_no_port_of_its_own_and_after_a_worker_has_died(hub):
    with contextlib.closing(hub.user("alice")) as alice:
        alice.start()
        alice.until("ready")
        pid = alice.answers()["pid"]
        starter = parent_of(pid)
        pids = {parent_of(starter), starter, pid, *(child for child, _ in children(starter))}
        assert len(pids) >= 4
        assert listeners_of(pids) == []
        for _ in range(10):
            assert alice.app()["pid"] == pid
        worker = next(pid for pid, line in children(hub.process.pid) if "gateway.worker" in line)
        os.kill(worker, signal.SIGKILL)
        assert alice.answers()["pid"] == pid
        clear(hub, alice)
