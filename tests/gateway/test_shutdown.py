"""Shutting down a real hub with the API: its processes end, users' servers keep running unless they are included."""

import contextlib

import pytest
from hub import Hub, children, eventually

from tests.echo_hub import ECHO, LOCAL

CONFIG = f"""
[auth]
admins = ["carol"]

[[auth.provider]]
name = "test"
kind = "test"
{LOCAL}{ECHO}
"""


@pytest.fixture
def hub(tmp_path):
    hub = Hub(tmp_path, config=CONFIG).start()
    yield hub
    hub.close()


def ready(hub, carol):
    carol.post("/hub/api/users/carol/server", json={})
    eventually(lambda: carol.get("/hub/api/users/carol/server").json()["ready"], what="the server")


def test_the_hub_shuts_down_and_servers_keep_running_unless_requested(hub):
    with contextlib.closing(hub.browser_of("carol")) as carol:
        ready(hub, carol)
        mine = {pid for pid, _ in children(hub.process.pid)}
        assert mine
        assert carol.post("/hub/api/shutdown", json={}).status_code == 202
    assert hub.process.wait(60) == 0
    hub.stop()
    hub.output.clear()
    hub.start()
    with contextlib.closing(hub.browser_of("carol")) as carol:
        assert carol.get("/hub/api/users/carol/server").json()["ready"]
        eventually(lambda: carol.get("/user/carol/").status_code == 200, what="the app, as it was")
        assert carol.post("/hub/api/shutdown", json={"servers": True}).status_code == 202
    assert hub.process.wait(60) == 0
    hub.stop()
    hub.output.clear()
    hub.start()
    with contextlib.closing(hub.browser_of("carol")) as carol:
        assert carol.get("/hub/api/users/carol/server").json()["stopped"]
