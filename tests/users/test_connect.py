"""`towpath connect` on a machine for many users: each gets a session of their own account, and only into their own job."""

import pytest

from tests.batch.launchers.local.making import jobs_of
from tests.connect.connect_hub import Client
from tests.hub import eventually
from tests.users.users_hub import UsersHub, short


@pytest.fixture
def hub(users, short_folder):
    hub = UsersHub(short(short_folder), users)
    hub.config.write_text(hub.config.read_text().replace('name = "stub"', 'name = "stub"\nssh = true', 1))
    try:
        yield hub.start()
    finally:
        hub.stop()


def test_each_user_connects_as_their_own_account_and_cannot_reach_the_socket_of_another(hub, tmp_path):
    laptops = {}
    for user in ("alice", "bob"):
        with hub.user(user) as api:
            hub.start_one(api, user)
            hub.until(api, user, status="ready")
        browser = hub.browser_of(user)
        laptops[user] = Client(tmp_path / user, hub).login(browser)
        browser.close()
        laptops[user].write_config()
        assert laptops[user].ssh("towpath", "id -un").stdout == f"{user}\n"
    path = max(jobs_of("alice").glob("*/ssh.sock"), key=lambda path: path.stat().st_mtime)
    program = f"import socket; socket.socket(socket.AF_UNIX).connect({str(path)!r})"
    done = laptops["bob"].ssh("towpath", f'/usr/bin/python3 -c "{program}"', check=False)
    assert "PermissionError" in done.stderr
    session = laptops["bob"].popen("towpath", "echo begun; cat")
    assert session.stdout.readline() == "begun\n"
    with hub.user("bob") as api:
        assert api.delete("/users/bob/server").status_code in (202, 204)
        session.wait(30)
        assert session.returncode == 255
        session.communicate()
        hub.until(api, "bob", status="stopped")
    eventually(lambda: laptops["alice"].ssh("towpath", "true").returncode == 0, what="alice's connection")
