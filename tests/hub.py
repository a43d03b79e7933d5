"""A real hub for tests: `towpath serve` in its own process and folder, on a free port."""

import asyncio
import getpass
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import secret_scan

from gateway.commands.token import issue
from gateway.serve import valkey
from state.settings.loader import load
from state.store.all import Store
from tests import leftovers
from tests.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60

STUB_APP = """
import os, socket, sys
# A small web app for tests: answers every request with its pid and the request line.
path = sys.argv[1]
server = socket.socket(socket.AF_UNIX)
server.bind(path)
os.chmod(path, 0o600)
server.listen(64)
print("stub app is running", flush=True)
while True:
    connection, _ = server.accept()
    head = b""
    while b"\\r\\n\\r\\n" not in head:
        chunk = connection.recv(65536)
        if not chunk:
            break
        head += chunk
    line = head.split(b"\\r\\n", 1)[0].decode("latin-1")
    body = ('{"pid": %d, "line": "%s"}' % (os.getpid(), line.replace('"', ""))).encode()
    connection.sendall(
        b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nConnection: close\\r\\nContent-Length: "
        + str(len(body)).encode() + b"\\r\\n\\r\\n" + body
    )
    connection.close()
"""


def eventually(check, *, seconds=90, what="it"):
    """Poll `check` until it returns a true value, and return that. `seconds` only limits failing tests."""
    deadline = time.monotonic() + seconds
    last = None
    while time.monotonic() < deadline:
        try:
            last = check()
        except (httpx.HTTPError, OSError) as error:
            last = error
        else:
            if last:
                return last
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s for {what}; last result: {last!r}")


def apart(coroutine):
    """Run a coroutine in a new event loop in another thread, and return its result."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


def children(pid):
    """Return (pid, command line) of a process's children."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
            if int(stat.rsplit(")", 1)[1].split()[1]) == pid:
                found.append((int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()))
        except (OSError, IndexError):
            continue
    return found


def listeners(port):
    """Return how many sockets listen on a loopback port: one per worker that has started."""
    wanted = f"0100007F:{port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1] == wanted and row[3] == "0A" for row in rows)


class Hub:
    """One run of `towpath serve`."""

    def __init__(
        self, folder: Path, *, config: str = "", workers: int = 1, path: str | None = None, redis_url: str = ""
    ) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.config = folder / "towpath.toml"
        self.workers = workers
        self.path = path
        self.redis_url = redis_url
        self.port = free_port()
        self.process: subprocess.Popen[str] | None = None
        self.link = ""
        self.open = False
        """Whether users can sign in as any user ([[auth.provider]] kind = "test")."""
        self.several = "[[auth.provider]]" in config and 'kind = "test"' not in config
        """Whether users sign in only with other providers: then only the ready line is printed."""
        self.output: list[str] = []
        leftovers.hubs.append(self)
        if config:
            self.config.write_text(config)

    def arguments(self):
        given = ["--data-dir", str(self.data_dir)]
        return [*given, "--config", str(self.config)] if self.config.exists() else given

    def environment(self):
        path = self.path or os.environ["PATH"]
        return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

    def program(self):
        """Return the argv of `towpath`."""
        return [sys.executable, "-m", "gateway"]

    def command(self, name, *more, check=True):
        done = subprocess.run(
            [*self.program(), name, *self.arguments(), *more],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.environment(),
            timeout=60,
        )
        if check:
            assert done.returncode == 0, done.stderr
        return done

    def start(self, command="serve"):
        """Start the hub, and wait for the ready line (and the sign-in link)."""
        self.process = subprocess.Popen(
            [
                *self.program(),
                command,
                *self.arguments(),
                "--port",
                str(self.port),
                "--workers",
                str(self.workers),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            env=self.environment(),
        )
        ready = threading.Event()

        def read():
            for line in self.process.stdout:
                self.output.append(line.rstrip())
                secret_scan.add_line(line.rstrip())
                if line.startswith("Towpath is ready at "):
                    self.url = line.split()[-1]
                    self.port = urlsplit(self.url).port
                if line.startswith("Sign in once with: "):
                    self.link = line.split()[-1]
                    secret_scan.add_secret(self.secret(), "sign-in link")
                    ready.set()
                if self.several and line.startswith("Towpath is ready at "):
                    ready.set()
                if line.startswith("WARNING: test sign-in is on."):
                    self.open = True
                    ready.set()
            ready.set()

        self._reader = threading.Thread(target=read, daemon=True)
        self._reader.start()
        assert ready.wait(START_SECONDS), "\n".join(self.output)
        assert self.link or self.open or (self.several and self.process.poll() is None), "\n".join(self.output)
        return self

    def child(self, part):
        """Return the pid of the child whose command line contains `part`."""
        return next(pid for pid, line in children(self.process.pid) if part in line)

    def remember(self):
        """Record the secrets in the store that the hub sends to apps."""
        for log in (self.data_dir / "valkey").rglob("*.aof"):
            for found in re.findall(rb'"credential":"token ([A-Za-z0-9_-]{20,})"', log.read_bytes()):
                secret_scan.add_secret(found.decode(), "an app's credential")

    def stop(self, number=signal.SIGTERM):
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(number)
            self.process.wait(60)
            self._reader.join(10)
            self.process.stdout.close()
            self.process = None
            self.remember()

    def close(self):
        """Stop the hub and end its users' servers on this machine, also those that a failed test has left."""
        self.stop()
        leftovers.end(self.data_dir)

    def kill_all(self):
        """Kill the supervisor and all children at once (SIGKILL), as in a power failure."""
        pids = [pid for pid, _ in children(self.process.pid)]
        self.process.kill()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.stop()

    def ask_store(self, *words):
        """Send one inline command to the embedded Valkey; return the start of its reply."""
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(10)
            line.connect(str(self.data_dir / "valkey.sock"))
            line.sendall(" ".join(words).encode() + b"\r\n")
            return line.recv(65536)

    def lose_store(self):
        """Kill the embedded Valkey, remove all its data, and wait for a new one."""
        pid = self.child("valkey-server")
        os.kill(pid, signal.SIGSTOP)  # so that it is not restarted too early
        shutil.rmtree(self.data_dir / "valkey")
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: self.ask_store("PING").startswith(b"+PONG"), what="the new Valkey")

    @property
    def origin(self):
        return f"http://127.0.0.1:{self.port}"

    def cookie_name(self, name="towpath-session"):
        """What one of the hub's cookies is called: over plain http the port is in it."""
        return f"{name}.{self.port}"

    def secret(self):
        return parse_qs(urlsplit(self.link).query)["token"][0]

    def fresh_link(self):
        """Create another one-time link directly in the store (the printed one works once)."""

        async def issue():
            store = await Store.open(self.redis_url or valkey.url(self.data_dir))
            try:
                return await store.links.issue(self.user(), lifetime=60)
            finally:
                await store.close()

        self.link = f"{self.origin}/hub/login?token={apart(issue())}"
        secret_scan.add_secret(self.secret(), "sign-in link")
        return self.link

    def client(self):
        """Return a client that sends the headers of a browser on a page of the hub."""
        headers = {"Origin": self.origin, "Sec-Fetch-Site": "same-origin"}
        return secret_scan.watch(httpx.Client(base_url=self.origin, timeout=30, headers=headers))

    def browser(self):
        """Return a client that has signed in with a link."""
        client = self.client()
        answer = client.get(self.fresh_link(), follow_redirects=True)
        assert answer.status_code == 200, answer.text
        assert "/hub/home" in str(answer.url), answer.text
        return client

    def browser_of(self, name):
        """Return a client that has signed in as `name` with the test provider."""
        client = self.client()
        answer = client.post("/hub/login", data={"provider": "test", "username": name}, follow_redirects=True)
        assert answer.status_code == 200, answer.text
        assert "/hub/home" in str(answer.url), answer.text
        return client

    def api(self, user=None):
        """Return a client with an API token, created as by `towpath token` but in this process, to save a second."""
        settings = load(self.config if self.config.exists() else None, self.data_dir)
        token = apart(issue(settings, user or self.user()))
        secret_scan.add_secret(token, "API token")
        headers = {"Authorization": f"token {token}"}
        return secret_scan.watch(httpx.Client(base_url=f"{self.origin}/hub/api", timeout=30, headers=headers))

    def user(self):
        return getpass.getuser()

    def start_server(self, api, name="", **body):
        user = self.user()
        where = f"/users/{user}/servers/{name}" if name else f"/users/{user}/server"
        answer = api.post(where, content=json.dumps(body) if body else b"")
        assert answer.status_code in (201, 202), answer.text

    def model(self, api, name=""):
        return api.get(f"/users/{self.user()}").json()["servers"].get(name)

    def wait_ready(self, api, name=""):
        return eventually(lambda: (self.model(api, name) or {}).get("ready"), what="the server to be ready")

    def stop_server(self, api, name=""):
        user = self.user()
        where = f"/users/{user}/servers/{name}" if name else f"/users/{user}/server"
        api.delete(where)
        eventually(
            lambda: not (self.model(api, name) or {}).get("pending") and not self.ready(api, name),
            what="the server to stop",
        )

    def ready(self, api, name=""):
        return (self.model(api, name) or {}).get("ready")


def stub_config(folder: Path, *, more: str = "") -> str:
    """Return a configuration with the stub as the default app, and profiles for starts that fail."""
    stub = folder / "stub.py"
    stub.write_text(STUB_APP)
    python = sys.executable
    return f"""
[[cluster]]
name = "local"
kind = "local"
isolation = "none"
start_window = 15

[[profile]]
name = "stub"
cluster = "local"
app = "web"
command = ["{python}", "-I", "-S", "{stub}", "{{socket}}"]
default_path = "hello"

[[profile]]
name = "exits"
cluster = "local"
app = "web"
command = ["/bin/sh", "-c", "echo the licence server is down; exit 3", "{{socket}}"]

[[profile]]
name = "silent"
cluster = "local"
app = "web"
command = ["/bin/sh", "-c", "echo thinking; exec sleep 600", "{{socket}}"]

[[profile]]
name = "missing"
cluster = "local"
app = "web"
command = ["/no/such/program", "{{socket}}"]
{more}
"""
