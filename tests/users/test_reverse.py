"""Servers that are reached by connections which they open to the hub: nothing of theirs listens on a port."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

from tests.hub import children, eventually
from tests.users.users_hub import UsersHub, short

WAY = 'way_in = "reverse"'


@pytest.fixture
def hub(users, short_folder):
    hub = UsersHub(short(short_folder), users, cluster=WAY, workers=2)
    try:
        yield hub.start()
    finally:
        hub.stop()


@pytest.fixture
def api(hub):
    with hub.user("alice") as api:
        hub.start_one(api, "alice", profile="stub")
        hub.until(api, "alice", status="ready")
        yield api


def hello(hub, api):
    return api.get(f"{hub.origin}/user/alice/hello", timeout=30)


def family(pid):
    """Return a process and all of its descendants."""
    return [pid, *(each for child, _ in children(pid) for each in family(child))]


def listeners_of(pids):
    """Return the addresses on which these processes listen by TCP."""
    inodes = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    inodes.add(str(entry.readlink()))
    rows = []
    for name in ("tcp", "tcp6"):
        rows += [line.split() for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes]


def job_processes(hub, api):
    """Return the starter's pid, and that of the process which carries bytes."""
    app = hello(hub, api).json()["pid"]
    starter = int(Path(f"/proc/{app}/stat").read_text().rsplit(")", 1)[1].split()[1])

    def carriers():
        found = [pid for pid, _ in children(starter) if pid != app]
        return found if len(found) == 1 else None  # the process of a report may still be there

    return app, starter, eventually(carriers, what="the process that carries bytes")


def test_a_server_is_reached_while_nothing_of_its_job_listens_on_a_port(hub, api):
    app, starter, (carrier,) = job_processes(hub, api)
    assert listeners_of({app, starter, carrier, *family(starter)}) == []
    for _ in range(20):
        assert hello(hub, api).status_code == 200
    assert hub.server(api, "alice")["status"] == "ready"


def test_a_worker_that_is_killed_costs_its_connections_only(hub, api):
    assert hello(hub, api).status_code == 200
    for _ in range(3):
        workers = [pid for pid, line in children(hub.process.pid) if "gateway.worker" in line]
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        eventually(lambda: hello(hub, api).status_code == 200, what="the app's answer")
        eventually(
            lambda gone=workers[0]: (
                len([pid for pid, line in children(hub.process.pid) if "gateway.worker" in line and pid != gone]) == 2
            ),
            what="a new worker",
        )
    assert hub.server(api, "alice")["status"] == "ready"


def test_the_process_that_carries_bytes_is_started_again(hub, api):
    app, _, (carrier,) = job_processes(hub, api)
    os.kill(carrier, signal.SIGKILL)
    assert eventually(lambda: hello(hub, api).json().get("pid") == app, what="the app's answer")


def test_a_starter_that_is_killed_is_replaced_and_the_app_stays(hub, api):
    app, starter, _ = job_processes(hub, api)
    os.kill(starter, signal.SIGKILL)

    def replaced():
        answer = hello(hub, api)
        return answer.status_code == 200 and answer.json()["pid"] == app

    assert eventually(replaced, what="the app's answer")


def test_a_stopped_server_leaves_no_process_and_no_connection(hub, api):
    app, starter, (carrier,) = job_processes(hub, api)
    assert api.delete("/users/alice/server").status_code in (202, 204)
    hub.until(api, "alice", status="stopped")
    for pid in (app, starter, carrier):
        eventually(lambda pid=pid: not Path(f"/proc/{pid}").exists(), what="the end of the processes")


def test_check_tries_the_address_of_jobs(hub):
    done = hub.command("check", check=False)
    assert "connections from nodes" in done.stdout
    assert f"jobs can connect to https://127.0.0.1:{hub.report_port}/hub/api/towpath/reverse" in done.stdout
