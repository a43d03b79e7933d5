"""Servers that are reached by SSH: no port on the host, nothing for another user, and a hub that lasts."""

import contextlib

import pytest

from tests.hub import eventually
from tests.ssh.ssh_hub import SshHub, short


@pytest.fixture
def hub(pool, short_folder):
    hub = SshHub(short(short_folder), pool, workers=2, cluster='way_in = "ssh"')
    try:
        yield hub.start()
    finally:
        hub.stop()


def started(hub, api, host="gpu1"):
    assert hub.start_one(api, "alice", profile="stub", host=host, memory="512M").status_code in (201, 202)
    return hub.until(api, "alice", status="ready")


def test_a_server_is_reached_with_no_port_of_its_own_and_no_other_user_can_connect(hub, pool, api):
    host = pool.hosts["gpu1"]
    started(hub, api)
    with contextlib.closing(hub.browser_of("alice")) as alice:
        answer = alice.get("/user/alice/hello").json()
        assert (answer["node"], answer["uid"] != 0) == ("gpu1", True)
        listeners = {line for line in host.run("ss", "-Hltnp").split("\n") if "python" in line and "127.78." in line}
        assert not listeners
        path = host.run("sh", "-c", "ls -t ~alice/.towpath/jobs/*/app.sock").split()[0]
        assert host.run("stat", "-c", "%a %U", path).split() == ["600", "alice"]
        code = f"import socket; socket.socket(socket.AF_UNIX).connect({path!r})"
        outcome = host.run("sh", "-c", f'python3 -c "{code}" 2>&1 || true', user="bob")
        assert "PermissionError" in outcome
        host.restart_sshd()
        assert eventually(lambda: alice.get("/user/alice/hello").status_code == 200, what="the app's answer")
    assert api.delete("/users/alice/server").status_code in (202, 204)
    hub.until(api, "alice", status="stopped")


def test_no_private_key_is_written_but_those_that_the_hub_has_anyway(hub, pool, api):
    started(hub, api)
    with contextlib.closing(hub.browser_of("alice")) as alice:
        assert alice.get("/user/alice/hello").status_code == 200
    files = {path.name for path in hub.data_dir.rglob("*") if path.is_file()}
    assert not {name for name in files if name.startswith("id_") or name.endswith("-cert.pub")}
    keys = [path for path in hub.data_dir.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    assert {path.name for path in keys} <= {"authority.key", "gateway.pem", "reports.pem", "ssh_user_ca"}
