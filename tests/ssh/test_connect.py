"""`towpath connect` to a server on an SSH host, by the way in over SSH: SSH in a channel of SSH."""

import pytest

from tests.connect.connect_hub import Client
from tests.ssh.ssh_hub import SshHub, short


@pytest.fixture
def hub(pool, short_folder):
    hub = SshHub(short(short_folder), pool, workers=2, cluster='way_in = "ssh"')
    hub.config.write_text(hub.config.read_text().replace('name = "stub"', 'name = "stub"\nssh = true', 1))
    try:
        yield hub.start()
    finally:
        hub.stop()


def test_a_command_runs_on_the_host_and_nothing_of_the_job_listens_there(hub, pool, api, tmp_path):
    assert hub.start_one(api, "alice", profile="stub", host="gpu1", memory="512M").status_code in (201, 202)
    hub.until(api, "alice", status="ready")
    browser = hub.browser_of("alice")
    laptop = Client(tmp_path, hub).login(browser)
    laptop.write_config()
    assert laptop.ssh("towpath", "hostname; id -un").stdout.split() == ["gpu1", "alice"]
    host = pool.hosts["gpu1"]
    path = host.run("sh", "-c", "ls -t ~alice/.towpath/jobs/*/ssh.sock").split()[0]
    assert host.run("stat", "-c", "%a %U", path).split() == ["600", "alice"]
    code = f"import socket; socket.socket(socket.AF_UNIX).connect({path!r})"
    outcome = host.run("sh", "-c", f'python3 -c "{code}" 2>&1 || true', user="bob")
    assert "PermissionError" in outcome
    browser.close()
