"""Who may connect by SSH, with what, and what ends a connection."""

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.connect.connect_hub import Client, ConnectHub, hub_config, sshd_folder
from tests.hub import eventually

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS"
SOON = 5.0
"""Seconds in which a connection must have ended: a guard, on a busy machine."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("r")
    with sshd_folder():
        hub = ConnectHub(folder, config=hub_config(folder), workers=2)
        hub.start()
        try:
            yield hub
        finally:
            hub.close()


@pytest.fixture(scope="module")
def browser(hub):
    client = hub.browser_of("alice")
    hub.browser_of("bob").close()
    yield client
    client.close()


@pytest.fixture(scope="module")
def api(hub, browser):
    client = hub.api("alice")
    hub.start_for(client, "alice")
    yield client
    client.close()


def token_of(api, user, *scopes):
    answer = api.post(f"/users/{user}/tokens", json={"scopes": list(scopes)} if scopes else {})
    assert answer.status_code == 201, answer.text
    return answer.json()["token"]


def attempt(hub, token="", path="alice/", key=KEY, cookie=""):
    """Open the WebSocket of SSH; return the status of the refusal and its text, or 101 and the host key."""
    headers = {"Towpath-Client-Key": key} if key else {}
    if token:
        headers["Authorization"] = f"token {token}"
    if cookie:
        headers["Cookie"] = cookie
        headers["Origin"] = hub.origin
    url = f"ws://127.0.0.1:{hub.port}/hub/api/towpath/connect/{path}"
    try:
        with connect(url, additional_headers=headers, compression=None) as websocket:
            return 101, websocket.response.headers["Towpath-Host-Key"]
    except InvalidStatus as error:
        return error.response.status_code, error.response.body.decode()


def test_a_token_with_the_scope_to_connect_opens_it(hub, api):
    status, key = attempt(hub, token_of(api, "alice", "connect:servers!user=alice"))
    assert status == 101
    assert key.startswith("ssh-ed25519 ")


@pytest.mark.parametrize("scope", ["read:access:servers!user=alice", "access:servers!user=alice", "servers!user=alice"])
def test_other_rights_to_the_server_are_not_enough(hub, api, scope):
    status, text = attempt(hub, token_of(api, "alice", scope))
    assert (status, text) == (403, "You have no access to this server.")


def test_another_users_token_is_refused_whether_the_server_exists_or_not(hub, api):
    with hub.api("bob") as bob:
        token = token_of(bob, "bob")
    assert attempt(hub, token) == attempt(hub, token, "alice/none") == (403, "You have no access to this server.")


def test_a_share_of_the_app_is_no_right_to_connect(hub, api):
    answer = api.post("/shares/alice/", json={"user": "bob"})
    assert answer.status_code == 200, answer.text
    with hub.api("bob") as bob:
        assert bob.get("/users/alice", follow_redirects=True).status_code in (200, 404)
        assert attempt(hub, token_of(bob, "bob"))[0] == 403


def test_a_browsers_cookie_is_not_enough(hub, api, browser):
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    assert attempt(hub, cookie=cookie)[0] == 403
    assert attempt(hub)[0] == 403


def test_a_request_without_a_key_or_with_a_hostile_one_is_refused(hub, api):
    token = token_of(api, "alice", "connect:servers!user=alice")
    assert attempt(hub, token, key="")[0] == 400
    assert attempt(hub, token, key='command="id" ssh-ed25519 AAAA')[0] == 400
    assert attempt(hub, token, key="ssh-ed25519 AAAA,BBBB")[0] == 400


def test_servers_that_do_not_run_or_do_not_serve_ssh_say_so(hub, api):
    token = token_of(api, "alice", "connect:servers!user=alice")
    assert attempt(hub, token, "alice/none")[0] == 424
    hub.start_for(api, "alice", "plain", "plain")
    status, text = attempt(hub, token, "alice/plain")
    assert (status, text[:36]) == (409, "This server does not accept SSH: its")
    assert attempt(hub, token, "alice")[0] == attempt(hub, token, "alice/a/b")[0] == 404


def test_the_key_of_another_server_does_not_log_in(hub, api, browser, tmp_path):
    laptop = Client(tmp_path, hub).login(browser)
    laptop.write_config()
    laptop.ssh("towpath", "true")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    done = laptop.ssh("-i", str(tmp_path / "other"), "-o", "IdentityFile=none", "towpath", "true", check=False)
    text = laptop.config.read_text().replace(str(laptop.sign_ins / "towpath/keys/towpath"), str(tmp_path / "other"))
    laptop.config.write_text(text)
    done = laptop.ssh("towpath", "true", check=False)
    assert done.returncode == 255
    assert "Permission denied (publickey)" in done.stderr


@pytest.fixture
def session(hub, browser, api, tmp_path):
    """An open connection of alice's, with a browser of its own."""
    signed_in = hub.browser_of("alice")
    laptop = Client(tmp_path, hub).login(signed_in)
    laptop.write_config()
    process = laptop.popen("towpath", "echo begun; cat; echo over >&2")
    assert process.stdout.readline() == "begun\n"
    process.laptop, process.browser = laptop, signed_in
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()
    signed_in.close()


def ended(process, began):
    """Wait for the end; return the message, and after how many seconds it came."""
    process.wait(30)
    seconds = time.monotonic() - began
    return process.stderr.read(), seconds


def test_revoking_the_token_ends_an_open_connection(hub, api, session):
    tokens = [
        one for one in api.get("/users/alice/tokens").json()["api_tokens"] if (one["note"] or "").startswith("SSH from")
    ]
    newest = max(tokens, key=lambda one: one["created"])
    began = time.monotonic()
    assert api.delete(f"/users/alice/tokens/{newest['id']}").status_code == 204
    error, seconds = ended(session, began)
    assert "The connection was ended: signed out." in error
    assert seconds < SOON
    done = session.laptop.ssh("towpath", "true", check=False)
    assert "Sign in again: towpath-connect login" in done.stderr


def test_signing_out_ends_an_open_connection(hub, session):
    began = time.monotonic()
    session.browser.post("/hub/logout")
    error, seconds = ended(session, began)
    assert "The connection was ended: signed out." in error
    assert seconds < SOON


def test_stopping_the_server_ends_it_and_another_start_has_another_host_key(hub, api, session):
    known = session.laptop.sign_ins / "towpath/known_hosts"
    before = known.read_text()
    began = time.monotonic()
    assert api.delete("/users/alice/server").status_code in (202, 204)
    _, seconds = ended(session, began)
    assert session.returncode == 255  # of OpenSSH: the hub and the job both end it, and either may be first
    assert seconds < SOON
    eventually(lambda: "" not in api.get("/users/alice").json()["servers"], what="the end")
    done = session.laptop.ssh("towpath", "true", check=False)
    assert "This server is not running. Start it" in done.stderr
    hub.start_for(api, "alice")
    session.laptop.ssh("towpath", "true")
    assert known.read_text() != before


def test_each_connection_is_in_the_audit(hub, api, browser, tmp_path):
    def connections():
        return [one for one in api.get("/towpath/audit").json()["entries"] if one["act"] == "server-connect"]

    before = len([one for one in connections() if one["outcome"] == "done"])
    token = token_of(api, "alice", "connect:servers!user=alice")
    for _ in range(2):
        assert attempt(hub, token)[0] == 101
    eventually(
        lambda: len([one for one in connections() if one["outcome"] == "done"]) == before + 2, what="two entries"
    )
    newest = connections()[0]
    assert (newest["who"], newest["user"], newest["server"]) == ("alice", "alice", "")
    assert newest["by"].startswith("token ")


def test_another_account_of_the_node_does_not_get_to_sshd(hub, api):
    path = max(hub.data_dir.glob("jobs/*/ssh.sock"), key=lambda path: path.stat().st_mtime)
    assert path.stat().st_mode & 0o777 == 0o600
    program = "import os, socket, sys; os.setuid(65534); socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    done = subprocess.run(["/usr/bin/python3", "-c", program, str(path)], capture_output=True, text=True)
    assert "PermissionError" in done.stderr
    with socket.socket(socket.AF_UNIX) as own:
        own.connect(str(path))
        own.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert own.recv(1000).startswith(b"HTTP/1.1 400 ")


@pytest.mark.skipif(os.geteuid() != 0, reason="changes the user id")
def test_not_even_where_the_socket_and_its_folder_are_open_to_all(tmp_path_factory):
    from batch.starter.ssh_session import is_own

    path = f"/tmp/towpath-test-{os.getpid()}.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(path)
            Path(path).chmod(0o777)
            listener.listen(2)
            for uid, expected in ((0, True), (65534, False)):
                program = f"import os, socket, sys; os.setuid({uid}); s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.recv(1)"
                with subprocess.Popen(["/usr/bin/python3", "-c", program, path]):
                    sock, _ = listener.accept()
                    assert is_own(sock) is expected
                    sock.close()
        finally:
            Path(path).unlink()
