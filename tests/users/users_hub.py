"""A hub on one machine for several users: `towpath serve` as root, which starts each server as its user."""

import contextlib
import json
import os
import signal
from pathlib import Path

from deploy.devcluster.users import RESTD
from tests.cluster.slurm_hub import APPS, STUB_APP, short
from tests.hub import Hub, children, eventually
from tests.ports import free_port

__all__ = ["APPS", "UsersHub", "short"]

CONFIG = """
[gateway]
host = "127.0.0.1"
port = {port}
report_port = {report_port}

[auth]
allowed_users = {users}
admins = ["carol"]
[[auth.provider]]
{provider}

[[cluster]]
name = "lab"
kind = "local"
tick = 0.5
start_window = {window}
{cluster}
[cluster.local]
run_as = "user"
{more}
"""

SHELL_APP = """
import http.server, json, os, socketserver, subprocess, sys
# A small web app that runs the Python code which its user posts, as a notebook does.
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({"pid": os.getpid(), "uid": os.getuid()})
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        argv = [sys.executable, "-I", "-c", request["code"], *request["arguments"]]
        done = subprocess.run(argv, capture_output=True, text=True, cwd=os.environ["HOME"])
        self.answer({"code": done.returncode, "out": done.stdout, "err": done.stderr})
    def answer(self, what):
        body = json.dumps(what).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
os.umask(0o177)
server = Server(sys.argv[1], Handler)
os.umask(0o022)
server.serve_forever()
"""

STUBS = """
[[profile]]
name = "stub"
cluster = "lab"
app = "web"
command = ["/usr/bin/python3", "-I", "-S", "{stub}", "{{socket}}"]
default_path = "hello"
environment = {{ TEST_HUB = "{port}" }}
[profile.option.cores]
title = "Cores"
kind = "cores"
[profile.option.memory]
title = "Memory"
kind = "memory"

[[profile]]
name = "shell"
cluster = "lab"
app = "web"
command = ["/usr/bin/python3", "-I", "-S", "{shell}", "{{socket}}"]
environment = {{ TEST_HUB = "{port}" }}
[profile.option.cores]
title = "Cores"
kind = "cores"
[profile.option.memory]
title = "Memory"
kind = "memory"

[[profile]]
name = "exits"
cluster = "lab"
app = "web"
command = ["/bin/sh", "-c", "echo the licence server is down; exit 3", "{{socket}}"]
"""

JUPYTERLAB = """
[[profile]]
name = "jupyterlab"
title = "JupyterLab"
cluster = "lab"
command = [
  "{apps}/bin/jupyter", "lab", "--no-browser", "--ServerApp.sock={{socket}}", "--ServerApp.sock_mode=0600",
  "--ServerApp.base_url={{base_path}}", "--ServerApp.allow_remote_access=True",
]
environment = {{ TEST_HUB = "{port}" }}
"""


HOOKS = """
[[hook]]
kind = "executables"
events = ["before-submit"]
[hook.executables]
folder = "{folder}"
"""
HOMELESS = f"dora{os.getpid()}"
"""An account of these tests' own, whose home may be missing."""

STARTER = b"-I\0-S\0-c\0"


def all_pids():
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def read(path):
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def parent(pid):
    """The parent of a process; 0: it has ended."""
    stat = read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return int(stat[1]) if stat else 0


def all_below(pid):
    """A process and everything that it has started."""
    found = [pid]
    for child, _ in children(pid):
        found += all_below(child)
    return found


class UsersHub(Hub):
    """One run of `towpath serve`. `programs`: a folder that all users can read."""

    def __init__(
        self,
        folder: Path,
        programs: Path,
        *,
        apps: bool = False,
        window: int = 60,
        more: str = "",
        cluster: str = "",
        hooks: Path | None = None,
        users: tuple[str, ...] = ("alice", "bob", "carol", RESTD, "zoe", HOMELESS),
        provider: str = 'name = "test"\nkind = "test"',
        **rest,
    ) -> None:
        port, report_port = free_port(), free_port()
        text = CONFIG.format(
            port=port,
            report_port=report_port,
            window=window,
            more=more,
            cluster=cluster,
            users=json.dumps(users),
            provider=provider,
        )
        stub, shell = programs / "stub.py", programs / "shell.py"
        stub.write_text(STUB_APP)
        shell.write_text(SHELL_APP)
        text += JUPYTERLAB.format(apps=APPS, port=port) if apps else STUBS.format(stub=stub, shell=shell, port=port)
        text += HOOKS.format(folder=hooks) if hooks else ""
        super().__init__(folder, config=text, **rest)
        self.port = port
        self.report_port = report_port

    def close(self):
        """Stop the hub, and end its users' servers, which a test that has failed or ended the hub may have left."""
        self.stop()
        eventually(self._end_servers, what="the end of all servers")

    def _end_servers(self):
        """End the processes of each app and of its starter. Return whether there was none."""
        mark = f"TEST_HUB={self.port}".encode()
        apps = [pid for pid in all_pids() if mark in read(f"/proc/{pid}/environ").split(b"\0")]
        for pid in apps:
            while STARTER in read(f"/proc/{(above := parent(pid))}/cmdline"):
                pid = above  # noqa: PLW2901 - up to the first process of the job
            for one in all_below(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one, signal.SIGKILL)
        return not apps

    @contextlib.contextmanager
    def user(self, name: str):
        """An API client with a token of the user's, who has signed in once."""
        self.browser_of(name).close()
        client = self.api(name)
        try:
            yield client
        finally:
            client.close()

    def start_one(self, api, user: str, name: str = "", **options):
        """Request a server; the answer."""
        where = f"/users/{user}/servers/{name}" if name else f"/users/{user}/server"
        answer = api.post(where, json=options)
        assert answer.status_code in (201, 202), answer.text
        return answer

    def server(self, api, user: str, name: str = ""):
        """The server's model, or None."""
        return api.get(f"/users/{user}?include_stopped_servers=1").json()["servers"].get(name)

    def until(self, api, user: str, name: str = "", *, status: str, seconds: float = 60):
        """Wait for a status; the model."""

        def check():
            model = self.server(api, user, name)
            return model if model and model["status"] == status else None

        try:
            return eventually(check, seconds=seconds, what=f"{user}/{name} {status}")
        except AssertionError as error:
            raise AssertionError(self.server(api, user, name)) from error

    @contextlib.contextmanager
    def shell(self, user: str, **options):
        """A server of the user's, in which code can be run: `run(code, *arguments)` returns what it printed."""
        with self.user(user) as api, contextlib.closing(self.browser_of(user)) as browser:
            self.start_one(api, user, profile="shell", **options)
            self.until(api, user, status="ready")

            def run(code, *arguments, check=True):
                given = {"code": code, "arguments": [str(one) for one in arguments]}
                answer = browser.post(f"/user/{user}/run", json=given, timeout=60).json()
                assert not check or answer["code"] == 0, answer["err"]
                return answer["out"]

            run.api = api
            try:
                yield run
            finally:
                api.delete(f"/users/{user}/server")
                self.until(api, user, status="stopped")
