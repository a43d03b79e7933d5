"""SIGKILL of each real process: running servers keep running, and no session or route is lost."""

import os
import signal
import time
from contextlib import closing
from pathlib import Path

import pytest
from hub import Hub, eventually, listeners, stub_config

pytestmark = pytest.mark.faults


@pytest.fixture
def hub(tmp_path):
    hub = Hub(tmp_path, config=stub_config(tmp_path), workers=2)
    hub.start()
    eventually(lambda: listeners(hub.port) == 2, what="both workers")
    yield hub
    if hub.process is None:
        hub.start()
    with hub.api() as api:
        for name in [name for name, model in api.get(f"/users/{hub.user()}").json()["servers"].items() if model]:
            hub.stop_server(api, name)
    hub.close()


@pytest.fixture
def running(hub):
    """A signed-in browser, an API client, and the running stub's pid."""
    with closing(hub.browser()) as browser, hub.api() as api:
        hub.start_server(api)
        hub.wait_ready(api)
        path = f"/user/{hub.user()}/hello"
        pid = eventually(lambda: browser.get(path).json()["pid"], what="the app's answer")
        yield browser, api, path, pid


def test_a_killed_worker_is_replaced(hub, running):
    browser, _, path, pid = running
    for _ in range(3):
        os.kill(hub.child("gateway.worker"), signal.SIGKILL)
        answer = eventually(lambda: browser.get(path), what="the other worker's answer")
        assert answer.json()["pid"] == pid
        eventually(lambda: listeners(hub.port) == 2, what="a second worker")


def test_a_killed_controller_is_replaced_and_resumes_its_work(hub, running):
    browser, api, path, pid = running
    os.kill(hub.child("batch controller"), signal.SIGKILL)
    assert browser.get(path).json()["pid"] == pid
    hub.start_server(api, "second")
    hub.wait_ready(api, "second")
    assert browser.get(path).json()["pid"] == pid


def test_a_killed_valkey_returns_with_all_sessions_and_routes(hub, running):
    browser, api, path, pid = running
    os.kill(hub.child("valkey-server"), signal.SIGKILL)
    assert browser.get(path).json()["pid"] == pid, "known routes and sessions are served in the meantime"
    eventually(lambda: api.get("/user").status_code == 200, what="the store")
    eventually(lambda: hub.model(api)["ready"], what="the record")
    # a worker without this session in its cache finds it in the store
    for _ in range(2):
        os.kill(hub.child("gateway.worker"), signal.SIGKILL)
        time.sleep(0.2)
    answer = eventually(lambda: browser.get(path), what="a fresh worker's answer")
    assert answer.json()["pid"] == pid


def test_after_the_store_was_removed_running_servers_are_found_again(hub, running):
    _, _, path, pid = running
    hub.lose_store()
    eventually(lambda: any("Recovered: the job" in line for line in hub.output), what="the record, from the job")
    with closing(hub.browser()) as browser, hub.api() as api:
        eventually(lambda: hub.ready(api), what="a ready server")
        assert eventually(lambda: browser.get(path), what="the answer").json()["pid"] == pid
    hub.stop()
    hub.start()
    with hub.api() as api:
        assert api.get("/user").json()["admin"], "the only user of this machine"
        hub.stop_server(api)


def test_after_all_processes_were_killed_everything_is_found_again(hub, running):
    browser, api, path, pid = running
    hub.kill_all()
    os.kill(pid, 0)  # the server is not a child of the hub and keeps running
    hub.start()
    assert eventually(lambda: browser.get(path), what="the answer").json()["pid"] == pid
    assert hub.model(api)["ready"]
    assert sum(entry.is_dir() for entry in Path(hub.data_dir, "jobs").iterdir()) == 1, "no second job was started"


def test_a_graceful_stop_leaves_servers_running_and_a_restart_finds_them(hub, running):
    browser, api, path, pid = running
    hub.stop()
    os.kill(pid, 0)
    hub.start()
    assert eventually(lambda: browser.get(path), what="the answer").json()["pid"] == pid
    assert hub.model(api)["ready"]


def test_a_second_hub_with_the_same_data_directory_reports_the_first(hub):
    done = hub.command("serve", "--port", "0", check=False)
    assert done.returncode == 1
    assert str(hub.process.pid) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_reported(hub, tmp_path):
    done = hub.command("serve", "--port", str(hub.port), "--data-dir", str(tmp_path / "other"), check=False)
    assert done.returncode == 1
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr
