"""`towpath connect` into a Slurm job: the real OpenSSH client, through the hub and the TLS way in."""

import os
import socket

import pytest

from tests.cluster.slurm_hub import SlurmHub, short
from tests.connect.connect_hub import Client
from tests.hub import eventually
from tests.ports import free_port


@pytest.fixture
def hub(slurm, short_folder):
    hub = SlurmHub(short(short_folder), slurm, workers=2)
    text = hub.config.read_text().replace('name = "stub"', 'name = "stub"\nssh = true', 1)
    hub.config.write_text(
        text.replace('{"pid"', '{{"pid"').replace('"%s"}', '"%s"}}')
    )  # braces that are no placeholder
    try:
        yield hub.start()
    finally:
        hub.stop()


def test_ssh_scp_sftp_rsync_and_a_forward_go_into_the_job(hub, slurm, tmp_path):
    browser = hub.browser_of("alice")
    api = hub.api("alice")
    assert hub.start_one(api, "alice", profile="stub").status_code in (201, 202)
    hub.until(api, "alice", status="ready")
    laptop = Client(tmp_path / "laptop", hub).login(browser)
    laptop.write_config()
    [(job, _, _)] = hub.jobs()
    program = "id -un; echo $SLURM_JOB_ID; hostname; cat /proc/self/cgroup; pwd; mkdir -p connect-test"
    said = laptop.ssh("towpath", program).stdout.splitlines()
    assert said[:2] == ["alice", job]
    assert said[2] in ("cn1", "cn2", "gn1")
    assert any(f"job_{job}/" in line for line in said), said  # the job's limits apply
    home = said[-1]
    content = os.urandom(1_000_000)
    (tmp_path / "file").write_bytes(content)
    try:
        laptop.ssh(str(tmp_path / "file"), "towpath:connect-test/one", program="scp")
        laptop.ssh("-b", "-", "towpath", program="sftp", input="rename connect-test/one connect-test/two\n")
        shell = f"ssh -F {laptop.config} -o BatchMode=yes"
        laptop.run("-a", "-e", shell, "towpath:connect-test/", f"{tmp_path}/back/", program=("rsync",))
        assert (tmp_path / "back/two").read_bytes() == content
    finally:
        laptop.ssh("towpath", f"rm -r {home}/connect-test")
    forward(laptop)
    session = laptop.popen("towpath", "echo begun; cat")
    assert session.stdout.readline() == "begun\n"
    assert api.delete("/users/alice/server").status_code in (202, 204)
    session.wait(30)
    assert session.returncode == 255
    session.communicate()
    hub.until(api, "alice", status="stopped")
    api.close()
    browser.close()


def forward(laptop):
    """Send a line to a program in the job, through -L."""
    listen = (
        "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True);"
        " c, _ = s.accept(); c.sendall(c.recv(100).upper())"
    )
    with laptop.popen("towpath", f'/usr/bin/python3 -c "{listen}"') as program:
        inside, outside = int(program.stdout.readline()), free_port()
        with laptop.popen("-N", "-L", f"{outside}:127.0.0.1:{inside}", "towpath") as tunnel:
            try:
                connected = eventually(lambda: socket.create_connection(("127.0.0.1", outside)), what="the forward")
                with connected as there:
                    there.sendall(b"through")
                    assert there.recv(100) == b"THROUGH"
            finally:
                tunnel.terminate()
