"""SIGKILL of each process, on the real ones: running servers go on, no session and no route is lost."""

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
    hub.stop()


@pytest.fixture
def running(hub):
    """A signed-in browser, an API client, and the running stub's pid."""
    with closing(hub.browser()) as browser, hub.api() as api:
        hub.start_server(api)
        hub.wait_ready(api)
        path = f"/user/{hub.user()}/hello"
        pid = eventually(lambda: browser.get(path).json()["pid"], what="the app's answer")
        yield browser, api, path, pid


def test_a_killed_worker_is_replaced_and_nobody_notices_twice(hub, running):
    browser, _, path, pid = running
    for _ in range(3):
        os.kill(hub.child("gateway.worker"), signal.SIGKILL)
        answer = eventually(lambda: browser.get(path), what="the other worker's answer")
        assert answer.json()["pid"] == pid
        eventually(lambda: listeners(hub.port) == 2, what="a second worker")


def test_a_killed_controller_is_replaced_and_takes_up_its_work(hub, running):
    browser, api, path, pid = running
    os.kill(hub.child("batch controller"), signal.SIGKILL)
    assert browser.get(path).json()["pid"] == pid
    hub.start_server(api, "second")
    hub.wait_ready(api, "second")
    assert browser.get(path).json()["pid"] == pid


def test_a_killed_valkey_comes_back_with_every_session_and_route(hub, running):
    browser, api, path, pid = running
    os.kill(hub.child("valkey-server"), signal.SIGKILL)
    assert browser.get(path).json()["pid"] == pid, "known routes and sessions are served meanwhile"
    eventually(lambda: api.get("/user").status_code == 200, what="the store's return")
    eventually(lambda: hub.model(api)["ready"], what="the record")
    # a worker that has never seen this session finds it in the store
    for _ in range(2):
        os.kill(hub.child("gateway.worker"), signal.SIGKILL)
        time.sleep(0.2)
    answer = eventually(lambda: browser.get(path), what="a fresh worker's answer")
    assert answer.json()["pid"] == pid


def test_a_valkey_whose_folder_was_removed_comes_back_and_what_runs_is_found_again(hub, running):
    _, _, path, pid = running
    hub.lose_store()
    eventually(lambda: any("Found again" in line for line in hub.output), what="the record, from the job")
    with closing(hub.browser()) as browser, hub.api() as api:
        eventually(lambda: hub.ready(api), what="a ready server")
        assert eventually(lambda: browser.get(path), what="the answer").json()["pid"] == pid
    hub.stop()
    hub.start()
    with hub.api() as api:
        assert api.get("/user").json()["admin"], "the one person at this machine"
        hub.stop_server(api)


def test_the_whole_hub_killed_finds_everything_again(hub, running):
    browser, api, path, pid = running
    hub.kill_all()
    os.kill(pid, 0)  # the server is nobody's child: it goes on
    hub.start()
    assert eventually(lambda: browser.get(path), what="the answer").json()["pid"] == pid
    assert hub.model(api)["ready"]
    assert sum(entry.is_dir() for entry in Path(hub.data_dir, "jobs").iterdir()) == 1, "no second job was made"


def test_a_graceful_stop_leaves_servers_running_and_a_restart_finds_them(hub, running):
    browser, api, path, pid = running
    hub.stop()
    os.kill(pid, 0)
    hub.start()
    assert eventually(lambda: browser.get(path), what="the answer").json()["pid"] == pid
    assert hub.model(api)["ready"]


def test_a_second_hub_on_the_same_data_says_who_has_it(hub):
    done = hub.command("serve", "--port", "0", check=False)
    assert done.returncode == 1
    assert str(hub.process.pid) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_said_in_words(hub, tmp_path):
    done = hub.command("serve", "--port", str(hub.port), "--data-dir", str(tmp_path / "other"), check=False)
    assert done.returncode == 1
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr
