"""The starter on real processes, run as a job runs it; its files, reports and processes are looked at."""

import ast
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from batch.bundle import starter_source
from tests.batch.apps import Hub, app, script

# Looked for in the machine's processes: nobody else's may be the same.
ATTEMPT = secrets.token_hex(16)
TOKEN, SECRET = f"report-token-{secrets.token_hex(8)}", f"app-secret-{secrets.token_hex(8)}"


@pytest.fixture
def hub():
    hub = Hub()
    yield hub
    hub.close()


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "starter.py"
    path.write_text(starter_source())
    return path


@pytest.fixture
def start(tmp_path, hub, program):
    """Run the starter with a specification; every one that still runs is killed at the end."""
    running: list[subprocess.Popen] = []

    def run(command, *, folder=None, **more):
        spec = {
            "attempt": ATTEMPT,
            "user": "alice",
            "server": "",
            "folder": str(folder or tmp_path / "job"),
            "command": list(command),
            "environment": {"PATH": os.environ["PATH"], "JUPYTER_TOKEN": SECRET},
            "directory": str(tmp_path),
            "base_path": "/user/alice/",
            "hub_urls": [hub.url],
            "report_token": TOKEN,
            "secrets": [SECRET],
            "start_window": 120,
            "grace": 5,
            "end_patience": 5,
            **more,
        }
        process = subprocess.Popen([sys.executable, "-I", "-S", str(program)], stdin=subprocess.PIPE)
        process.stdin.write(json.dumps(spec).encode())
        process.stdin.close()
        running.append(process)
        return process

    yield run
    for process in running:
        if process.poll() is None:
            process.terminate()
        process.wait(30)


def word(tmp_path):
    return json.loads((tmp_path / "job" / "report.json").read_text())


def processes_of(attempt=ATTEMPT):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if f"TOWPATH_ATTEMPT={attempt}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def test_an_app_that_answers_is_reported_ready_on_a_private_socket(start, hub, tmp_path):
    start(app())
    report = hub.wait("ready")
    path = Path(report["endpoint"]["path"])
    assert report["endpoint"]["kind"] == "unix"
    assert (report["user"], report["server"], report["attempt"]) == ("alice", "", ATTEMPT)
    assert hub.tokens[0] == f"token {TOKEN}"
    assert path.lstat().st_mode & 0o777 == 0o600
    assert path.parent.lstat().st_mode & 0o777 == 0o700
    assert word(tmp_path)["kind"] == "ready"
    for file in ("app.log", "job.json", "report.json"):
        assert (tmp_path / "job" / file).lstat().st_mode & 0o777 == 0o600


def test_an_app_whose_profile_shares_its_port_gets_a_free_one_of_the_loopback(start, hub):
    start(app(where="{port}"), shared_node_port=True)
    endpoint = hub.wait("ready")["endpoint"]
    assert (endpoint["kind"], endpoint["host"]) == ("tcp", "127.0.0.1")
    with socket.create_connection(("127.0.0.1", endpoint["port"]), 5) as peer:
        peer.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert peer.recv(5) == b"HTTP/"


def test_a_port_that_somebody_else_takes_first_is_given_up_for_another(start, hub, tmp_path):
    thief = f"""
import _socket as s, os, sys
port = int(sys.argv[1])
if not os.path.exists({str(tmp_path / "stolen")!r}):
    open({str(tmp_path / "stolen")!r}, "w").write(str(port))
    other = s.socket(s.AF_INET, s.SOCK_STREAM)
    other.bind(("127.0.0.1", port))
    other.listen(1)
    if os.fork() == 0:
        os.setsid()
        import time
        time.sleep(8)
        os._exit(0)
    os._exit(1)
"""
    text = app(where="{port}")
    # an attempt of its own: the thief outlives this test for a moment
    start((*text[:4], thief + text[4], text[5]), attempt="b" * 32, shared_node_port=True)
    endpoint = hub.wait("ready")["endpoint"]
    assert endpoint["port"] != int((tmp_path / "stolen").read_text())


def test_a_job_folder_too_deep_for_a_socket_gets_a_short_private_one(start, hub, tmp_path):
    deep = tmp_path / ("d" * 90)
    job = start(app(), folder=deep)
    path = Path(hub.wait("ready")["endpoint"]["path"])
    assert len(os.fsencode(path)) < 100
    assert path.parent.lstat().st_mode & 0o777 == 0o700
    job.terminate()
    job.wait(20)
    assert not path.parent.exists()  # it goes with the job


def test_an_app_that_ends_at_once_is_reported_with_its_exit_code_and_log(start, hub, tmp_path):
    job = start(script("import sys; print('no licence for you', flush=True); sys.exit(7)"))
    report = hub.wait("failed")
    assert (report["code"], report["exit_code"]) == ("exited", 7)
    assert "no licence for you" in report["log_tail"]
    assert job.wait(20) == 7
    assert word(tmp_path)["kind"] == "failed"


def test_a_command_that_does_not_exist_is_reported_as_a_message(start, hub):
    start(("no-such-program-anywhere", "{socket}"))
    report = hub.wait("failed")
    assert report["code"] == "command"
    assert "no-such-program-anywhere: No such file or directory" in report["message"]


def test_an_app_that_never_answers_is_ended_after_the_start_window(start, hub):
    job = start(script("import time\nprint('thinking', flush=True)\nwhile True: time.sleep(60)"), start_window=1)
    report = hub.wait("failed")
    assert report["code"] == "no-answer"
    assert "thinking" in report["log_tail"]
    job.wait(20)
    assert [
        Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/stat").read_bytes() for pid in processes_of()
    ] == []


def test_an_app_that_dies_later_is_reported_with_the_end_of_its_log(start, hub, tmp_path):
    gate = tmp_path / "gate"
    start(
        app(f"""
import threading
def later():
    while not os.path.exists({str(gate)!r}): time.sleep(0.02)
    print("x" * 9000 + " out of memory", flush=True)
    os._exit(3)
threading.Thread(target=later).start()
""")
    )
    hub.wait("ready")
    gate.touch()
    report = hub.wait("ended")
    assert report["exit_code"] == 3
    assert report["log_tail"].endswith("out of memory\n")
    assert len(report["log_tail"].encode()) <= 4096


def test_secrets_are_in_no_argv_and_taken_out_of_the_log_tail(start, hub):
    job = start(app(f"print('my token is', os.environ['JUPYTER_TOKEN'], 'and {TOKEN}', flush=True)"))
    hub.wait("ready")
    for pid in [job.pid, *processes_of()]:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes()
        assert SECRET.encode() not in argv
    job.terminate()
    tail = hub.wait("ended")["log_tail"]
    assert "my token is [secret] and [secret]" in tail


def test_the_app_sees_the_given_environment_and_nothing_else(start, hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HUB_PASSWORD", "do-not-leak")
    start(app(f"open({str(tmp_path / 'env')!r}, 'w').write(repr(dict(os.environ)))"))
    hub.wait("ready")
    seen = ast.literal_eval((tmp_path / "env").read_text())
    assert seen["JUPYTER_TOKEN"] == SECRET
    assert set(seen) - {"LC_CTYPE"} == {"PATH", "JUPYTER_TOKEN", "TOWPATH_ATTEMPT", "TOWPATH_SOCKET"}


@pytest.mark.parametrize("where", ["{socket}", "{port}"])
def test_an_app_of_jupyterhub_gets_its_address(start, hub, tmp_path, where):
    said = {"PATH": os.environ["PATH"], "JUPYTERHUB_SERVICE_URL": "/user/alice/"}
    listens = f"open({str(tmp_path / 'url')!r}, 'w').write(os.environ['JUPYTERHUB_SERVICE_URL'])"
    start(app(listens, where=where), environment=said, shared_node_port=True)
    endpoint = hub.wait("ready")["endpoint"]
    place = quote(endpoint["path"], safe="") if endpoint["kind"] == "unix" else f"127.0.0.1:{endpoint['port']}"
    scheme = "http+unix" if endpoint["kind"] == "unix" else "http"
    assert (tmp_path / "url").read_text() == f"{scheme}://{place}/user/alice/"


def test_sigterm_ends_the_whole_group_and_the_end_is_reported(start, hub):
    job = start(app("if os.fork() == 0:\n    while True: time.sleep(60)"))
    hub.wait("ready")
    assert len(processes_of()) == 2
    job.terminate()
    assert hub.wait("ended")["exit_code"] == 128 + signal.SIGTERM
    job.wait(20)
    assert [
        Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/stat").read_bytes() for pid in processes_of()
    ] == []


def test_an_app_that_ignores_sigterm_is_killed_after_the_grace(start, hub):
    job = start(app("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"), grace=0.5)
    hub.wait("ready")
    job.terminate()
    assert hub.wait("ended")["exit_code"] == 128 + signal.SIGKILL
    job.wait(20)


def test_a_hub_that_was_away_receives_the_report_when_it_is_back(start, hub, tmp_path):
    hub.close()
    start(app())
    deadline = time.monotonic() + 20
    while not (tmp_path / "job" / "report.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert word(tmp_path)["kind"] == "ready"
    back = Hub(hub.port)
    try:
        assert back.wait("ready")["endpoint"] == word(tmp_path)["endpoint"]
    finally:
        back.close()


def test_a_report_is_repeated_until_the_hub_receives_it(start, hub):
    hub.status = 503
    start(app())
    hub.wait("ready")
    with hub.received:
        assert hub.received.wait_for(lambda: len(hub.reports) >= 3, 20)
    hub.status = 200


def test_a_hub_that_says_stop_ends_the_app(start, hub):
    hub.status, hub.body = 409, {"stop": True, "message": "not this attempt any more"}
    job = start(app())
    job.wait(30)
    assert [
        Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/stat").read_bytes() for pid in processes_of()
    ] == []


def test_a_log_that_grows_without_end_is_cut_and_keeps_its_end(start, hub, tmp_path):
    job = start(
        app("for i in range(20000): print('line', i, '.' * 40)\nprint('last words', flush=True)"), log_cap=100_000
    )
    hub.wait("ready")
    log = tmp_path / "job" / "app.log"
    deadline = time.monotonic() + 30
    while log.stat().st_size > 100_000 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert log.stat().st_size < 100_000
    job.terminate()
    assert "last words" in hub.wait("ended")["log_tail"]


def test_a_folder_that_is_a_link_is_refused(start, hub, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "job").symlink_to(tmp_path / "elsewhere")
    job = start(app())
    assert hub.wait("failed")["code"] == "folder"
    job.wait(20)
    assert list((tmp_path / "elsewhere").glob("app.*")) == []


def test_a_specification_that_others_may_read_is_refused(tmp_path, program):
    spec = tmp_path / "spec.json"
    spec.write_text("{}")
    spec.chmod(0o644)
    result = subprocess.run([sys.executable, "-I", "-S", str(program), str(spec)], capture_output=True, text=True)
    assert result.returncode == 2
    assert "not private" in result.stderr


def test_another_user_of_the_node_can_neither_connect_nor_read(start, hub):
    """As root the attack is made by `nobody`; else the folder's mode is looked at, which is what stops it."""
    with tempfile.TemporaryDirectory(prefix="towpath-test-") as above:
        Path(above).chmod(0o755)
        folder = Path(above) / "job"
        start(app(), folder=folder)
        path = hub.wait("ready")["endpoint"]["path"]
        assert folder.lstat().st_mode & 0o777 == 0o700
        if os.geteuid() == 0:
            attack = (
                "import socket,sys\n"
                "s=socket.socket(socket.AF_UNIX)\n"
                "def tried(f):\n"
                "    try: f()\n"
                "    except PermissionError: return\n"
                "    sys.exit('got in')\n"
                f"tried(lambda: s.connect({path!r}))\n"
                f"tried(lambda: open({str(folder / 'report.json')!r}))\n"
                f"tried(lambda: open({str(folder / 'app.log')!r}))\n"
                "import os, glob\n"
                "for e in glob.glob('/proc/[0-9]*/environ'):\n"
                "    try: assert b'app-secret' not in open(e, 'rb').read()\n"
                "    except (PermissionError, FileNotFoundError, ProcessLookupError): pass\n"
            )
            result = subprocess.run(
                ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-I", "-c", attack],
                capture_output=True,
                text=True,
            )
            assert result.returncode == 0, result.stderr
