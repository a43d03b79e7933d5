"""Where hubs run: accounts without a passwd entry or a home, a late store, closed terminals, shared volumes."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hub import Hub, children, eventually, stub_config

from gateway.door.portal_socket import PortalSocket
from state.account import account_name
from state.signals import ending_signals
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 54321
"""A user id that has no passwd entry."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="runs as another user id: needs root")


def command(*words, folder, user=None, **environment):
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, "-m", "gateway", *words],
        cwd=folder,
        env=kept,
        capture_output=True,
        text=True,
        user=user,
        group=user,
    )


@pytest.fixture
def nobodys(short_folder):
    folder = short_folder / f"uid{len(list(short_folder.iterdir()))}"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    short_folder.chmod(0o755)
    return folder


@needs_root
def test_without_a_home_the_data_directory_has_to_be_named(nobodys):
    done = command("check", folder=nobodys, user=NOBODY)
    assert done.returncode != 0
    assert "this account has no home directory. Set --data-dir or TOWPATH_DATA_DIR." in done.stderr
    assert "Traceback" not in done.stderr


@needs_root
def test_a_user_id_without_a_passwd_entry_serves_and_signs_in(nobodys):
    port = free_port()
    (nobodys / "towpath.toml").write_text(stub_config(nobodys))
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    hub = subprocess.Popen(
        [sys.executable, "-m", "gateway", "serve", "--config", nobodys / "towpath.toml", "--data-dir", nobodys / "data", "--port", str(port), "--workers", "1"],
        cwd=nobodys, env=kept, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, user=NOBODY, group=NOBODY,
    )  # fmt: skip
    try:
        output = []
        for line in hub.stdout:
            output.append(line)
            if line.startswith("Sign in once with: "):
                break
        assert output[-1].startswith("Sign in once with: "), "".join(output)
        done = command("token", f"uid-{NOBODY}", "--data-dir", str(nobodys / "data"), folder=nobodys, user=NOBODY)
        assert done.returncode == 0, done.stderr
    finally:
        hub.terminate()
        hub.communicate(timeout=60)


def test_the_name_of_an_account_without_one_is_its_id(monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: NOBODY)
    monkeypatch.setattr("os.geteuid", lambda: NOBODY)
    assert account_name() == f"uid-{NOBODY}"


def test_a_gateway_waits_for_a_store_that_comes_up_later(tmp_path, make_store_server):
    server = make_store_server("valkey")
    server.kill()
    hub = Hub(tmp_path, config=f'[state]\nredis_url = "{server.url}"\n', redis_url=server.url)
    port = hub.port
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "gateway", "--config", str(hub.config), "--data-dir", str(hub.data_dir), "--port", str(port), "--workers", "1"],
        cwd=tmp_path, env=hub.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        for line in process.stdout:
            if "Waiting for the state store" in line:
                break
        assert process.poll() is None
        server.start()
        for line in process.stdout:
            if line.startswith("Towpath is ready at"):
                break
        assert process.poll() is None
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_a_closed_terminal_ends_the_hub_gracefully(tmp_path):
    hub = Hub(tmp_path, config=stub_config(tmp_path)).start()
    pids = [pid for pid, _ in children(hub.process.pid)]
    hub.stop(signal.SIGHUP)
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), what="the end of all parts")


def test_a_hub_under_nohup_stays():
    script = "import signal\nfrom state.signals import ending_signals\nprint([one.name for one in ending_signals()])"
    for ignored, expected in ((False, "['SIGTERM', 'SIGINT', 'SIGHUP']"), (True, "['SIGTERM', 'SIGINT']")):
        words = ["nohup"] if ignored else []
        done = subprocess.run(
            [*words, sys.executable, "-c", script],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env=dict(os.environ),
            stdin=subprocess.DEVNULL,
        )
        assert done.stdout.strip() == expected
    assert signal.SIGTERM in ending_signals()


def test_workers_that_share_a_volume_leave_each_others_sockets_alone(tmp_path):
    """As two containers with one host name, in which both workers have the process id 7."""
    first = PortalSocket(tmp_path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(first.path))
    first.peers.touch()
    second = PortalSocket(tmp_path)
    assert first.path != second.path
    assert first.path.exists()
    second.close()
    assert first.path.exists()
    listener.close()
    os.close(first._fd)  # it is killed
    third = PortalSocket(tmp_path)
    assert not first.path.exists()
    assert not first.peers.exists()
    third.peers.touch()
    third.close()
    assert not list((tmp_path / "run").iterdir())


def test_a_lock_that_was_removed_meanwhile_is_made_anew(tmp_path, monkeypatch):
    locked, real = [], fcntl.flock

    def removed_first(fd, how):
        if how == fcntl.LOCK_EX and not locked:
            for path in (tmp_path / "run").glob("*.lock"):
                path.unlink()
            locked.append(fd)
        real(fd, how)

    monkeypatch.setattr(fcntl, "flock", removed_first)
    made = PortalSocket(tmp_path)
    assert [path.suffix for path in (tmp_path / "run").iterdir()] == [".lock"]
    made.close()


USERS = """
[auth]
allowed_users = ["alice", "bob"]
admins = ["root-of-hub"]
[[auth.provider]]
name = "test"
kind = "test"
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("log")
    hub = Hub(folder, config=USERS + stub_config(folder), workers=1).start()
    yield hub
    hub.close()


def line_with(hub, *parts):
    return eventually(
        lambda: next((line for line in hub.output if all(part in line for part in parts)), ""),
        what=f"a line with {parts}",
    )


def test_the_log_says_who_was_refused_what_and_why(hub):
    bob = hub.browser_of("bob")
    try:
        assert bob.get("/hub/admin").status_code in (403, 404)
        line_with(hub, "Request refused.", "status=403", "method=GET path=/hub/admin user=bob address=127.0.0.1 why=")
        assert bob.get("/user/alice/files?token=s3cret-of-a-link").status_code == 403
        line_with(hub, "Request refused.", "path=/user/alice/files user=bob", "why=")
        assert bob.post("/hub/api/users/alice").status_code == 403
        line_with(hub, "Request refused.", "method=POST path=/hub/api/users/alice user=bob")
        with hub.client() as anonymous:
            assert anonymous.get("/hub/api/users").status_code in (401, 403)
            line_with(hub, "Request refused.", "path=/hub/api/users user=- address=127.0.0.1")
            answer = anonymous.post("/hub/login", data={"provider": "test", "username": "mallory"})
            assert answer.status_code == 403
            line_with(hub, "Request refused.", "method=POST path=/hub/login user=mallory", "why=sign-in: ")
            anonymous.get("/hub/api/users/x%0AFORGED%20line")
        assert not any("s3cret-of-a-link" in line or line.startswith("FORGED") for line in hub.output)
        before = len([line for line in hub.output if "Request refused." in line])
        assert bob.get("/hub/home").status_code == 200
        assert len([line for line in hub.output if "Request refused." in line]) == before
    finally:
        bob.close()


def test_the_log_says_whose_server_failed_and_why(hub):
    with hub.api("alice") as api:
        api.post("/users/alice/server", json={"profile": "exits"})
    line_with(hub, "A server failed. user=alice server=- profile=exits cluster=local job=", "attempt=", "exit=3 why=")


def test_a_look_at_a_one_time_link_does_not_use_it_up(tmp_path):
    """HEAD, as from a scanner of mail or a preview of a chat."""
    hub = Hub(tmp_path, config=stub_config(tmp_path)).start()
    try:
        with hub.client() as client:
            looked = client.head(hub.link)
            assert looked.status_code == 200
            assert set(looked.cookies) <= {"_xsrf"}  # for scripts that sign in
            assert client.get(hub.link, follow_redirects=True).status_code == 200
            assert client.get("/hub/home").status_code == 200
    finally:
        hub.close()
