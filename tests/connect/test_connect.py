"""`towpath connect` with the real OpenSSH client, through a real hub, into a job on this machine."""

import json
import os
import pwd
import socket
import subprocess

import pytest

from tests.connect.connect_hub import Client, ConnectHub, hub_config, sshd_folder
from tests.hub import children, eventually
from tests.ports import free_port

ACCOUNT = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("c")
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
    yield client
    client.close()


@pytest.fixture(scope="module")
def api(hub, browser):
    client = hub.api("alice")
    hub.start_for(client, "alice")
    yield client
    client.close()


@pytest.fixture(scope="module")
def laptop(hub, browser, api, tmp_path_factory):
    client = Client(tmp_path_factory.mktemp("laptop"), hub).login(browser)
    client.write_config()
    return client


def test_a_command_runs_in_the_job_as_its_account(laptop):
    done = laptop.ssh("towpath", "id -un; echo to stderr >&2; exit 7", check=False)
    assert (done.stdout, done.returncode) == (f"{ACCOUNT}\n", 7)
    assert "to stderr" in done.stderr


def test_files_go_both_ways_by_scp_and_sftp(laptop, tmp_path):
    there = tmp_path / "there"
    content = os.urandom(3_000_000)
    (tmp_path / "here").write_bytes(content)
    laptop.ssh(str(tmp_path / "here"), f"towpath:{there}", program="scp")
    assert there.read_bytes() == content
    laptop.ssh(f"towpath:{there}", str(tmp_path / "back"), program="scp")
    assert (tmp_path / "back").read_bytes() == content
    laptop.ssh("-b", "-", "towpath", program="sftp", input=f"rename {there} {there}2\n")
    assert (tmp_path / "there2").read_bytes() == content


def test_rsync_copies_a_folder(laptop, tmp_path):
    (tmp_path / "from").mkdir()
    (tmp_path / "from/file").write_text("content")
    shell = f"ssh -F {laptop.config} -o BatchMode=yes"
    laptop.run("-a", "-e", shell, f"{tmp_path}/from/", f"towpath:{tmp_path}/to/", program=("rsync",))
    assert (tmp_path / "to/file").read_text() == "content"


def test_a_port_of_the_nodes_loopback_is_forwarded_and_no_other(laptop):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        inside, outside, refused = listener.getsockname()[1], free_port(), free_port()
        words = ("-L", f"{outside}:127.0.0.1:{inside}", "-L", f"{refused}:127.0.0.2:{inside}")
        with laptop.popen("-N", *words, "towpath") as forward:
            try:
                with eventually(lambda: socket.create_connection(("127.0.0.1", outside)), what="the forward") as there:
                    here, _ = listener.accept()
                    with here:
                        there.sendall(b"through")
                        assert here.recv(100) == b"through"
                with socket.create_connection(("127.0.0.1", refused)) as elsewhere:
                    assert elsewhere.recv(10) == b""
            finally:
                forward.terminate()


def test_a_terminal_works(laptop):
    done = subprocess.run(
        ["script", "-qec", f"ssh -F {laptop.config} -tt towpath 'tty; stty size'", "/dev/null"],
        capture_output=True, text=True, env=laptop.environment(), stdin=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip
    assert "/dev/pts/" in done.stdout, done


def descendants(pid):
    below = [pid for pid, _ in children(pid)]
    return [*below, *(further for one in below for further in descendants(one))]


def test_nothing_of_it_listens_on_the_network(laptop, hub):
    with laptop.popen("towpath", "echo begun; cat") as session:
        assert session.stdout.readline() == "begun\n"
        starter = json.loads(next(hub.data_dir.glob("jobs/*/job.json")).read_text())["pid"]
        pids = descendants(starter)
        assert len(pids) >= 5  # SSH's process, the connection's, sshd, and its session with the command
        listening = subprocess.run(["ss", "-Htlnp"], capture_output=True, text=True, check=True).stdout
        assert not [line for line in listening.splitlines() if any(f"pid={pid}," in line for pid in pids)]
