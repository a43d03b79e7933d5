"""A hub for fault tests: an app that can be controlled, users, and functions that ask Slurm for their jobs."""

import html
import json
import pwd
import re
import subprocess
import sys
from pathlib import Path

import httpx

from deploy.devcluster import hub as offered
from tests.cluster.slurm_hub import SlurmHub, short
from tests.conftest import StoreServer
from tests.hub import children, eventually
from tests.slurm import Slurm

APP = """
import base64, hashlib, json, os, socket, sys, threading, time
# An app that answers with where it is, echoes short WebSocket messages, and does what its path says.
magic = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

def exactly(connection, count):
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            raise OSError
        data += chunk
    return data

def talk(connection, head):
    key = [line for line in head.split(b"\\r\\n") if line.lower().startswith(b"sec-websocket-key:")][0]
    accept = base64.b64encode(hashlib.sha1(key.split(b":", 1)[1].strip() + magic).digest())
    upgrade = b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
    connection.sendall(upgrade + b"Sec-WebSocket-Accept: " + accept + b"\\r\\n\\r\\n")
    while True:
        first, length = exactly(connection, 2)
        mask = exactly(connection, 4)
        said = bytes(one ^ mask[at % 4] for at, one in enumerate(exactly(connection, length & 127)))
        connection.sendall(bytes([first, len(said)]) + said)

def serve(connection):
    head = b""
    while b"\\r\\n\\r\\n" not in head:
        chunk = connection.recv(65536)
        if not chunk:
            return
        head += chunk
    if b"\\r\\nupgrade: websocket" in head.lower():
        return talk(connection, head)
    path = head.split(b" ")[1]
    if b"/exit" in path:
        print("told to exit", flush=True)
        os._exit(7)
    if b"/fill" in path:
        print("filling memory", flush=True)
        held = bytearray(900 * 2**20)
    told = dict(pid=os.getpid(), node=os.environ["SLURMD_NODENAME"], job=os.environ["SLURM_JOB_ID"])
    body = json.dumps(told)
    head = "HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n%s"
    connection.sendall((head % (len(body), body)).encode())

def answer(connection):
    try:
        serve(connection)
    except OSError:
        pass
    finally:
        connection.close()

print("the app begins", flush=True)
held = os.path.expanduser("~/towpath-hold-%s-%s" % (os.environ["SLURM_CLUSTER_NAME"], os.environ["TOWPATH_SERVER"]))
while os.path.exists(held):
    time.sleep(0.1)
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o600)
server.listen(64)
print("the app is up", flush=True)
while True:
    threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()
"""

COMMANDS = {
    "app": ["/usr/bin/python3", "-I", "-S", "-c", APP, "{socket}"],
    "exits": ["/bin/sh", "-c", "echo the licence server is down; exit 3", "{socket}"],
    "silent": ["/bin/sh", "-c", "echo thinking; exec sleep 600", "{socket}"],
}
FIELDS = offered.FIELDS.replace('default = "1G"', 'default = "300M"')


class FaultyHub(SlurmHub):
    """`towpath serve` with those apps, and short timeouts for Slurm."""

    def __init__(self, folder: Path, slurm: Slurm, *, window: int = 60, catalog_seconds: int = 2, **more) -> None:
        super().__init__(folder, slurm, **more)
        text = self.config.read_text()
        head = text[: text.index("[[profile]]")].replace("start_window = 60", f"start_window = {window}\ntick = 0.5")
        head = head.replace("catalog_seconds = 10", f"catalog_seconds = {catalog_seconds}\ntimeout = 4.0")
        for name, command in COMMANDS.items():
            lines = f'name = "{name}"\ncluster = "devcluster"\napp = "web"\ncommand = {json.dumps(command)}'
            head += f'[[profile]]\n{lines}\ndefault_path = "hello"\n{FIELDS}\n'
        self.config.write_text(head)
        self._admin: httpx.Client | None = None

    def user(self, name: str) -> "HubUser":
        """Return a newly signed-in user."""
        return HubUser(self, name)

    def settled(self) -> None:
        """Wait until the hub knows its cluster: before that, a form cannot say what is on offer."""
        with self.as_user("carol") as api:
            eventually(lambda: api.get("/towpath/clusters").json()[0]["time"], what="the first catalog")

    def controller(self) -> int:
        """Return the pid of the controller, once there is one."""
        return eventually(lambda: self.pid_of("batch controller"), what="a controller")

    def _let_go(self) -> None:
        if self._admin is not None:
            self._admin.close()
            self._admin = None

    def stop(self, *args) -> None:
        """See Hub."""
        self._let_go()
        super().stop(*args)

    def pid_of(self, part: str) -> int:
        """Return the pid of a child whose command line contains `part`; 0 while there is none."""
        return next((pid for pid, line in children(self.process.pid) if part in line), 0)

    def attempts(self) -> dict[tuple[str, str], str]:
        """Return (user, server) → the id of its attempt, which an admin sees, for servers that were started."""
        if self._admin is None or self._admin.get("/user").status_code != 200:  # its token was lost with the store
            self._let_go()
            self._admin = self.as_user("carol")
        users = self._admin.get("/users?include_stopped_servers=1&limit=200").json()
        return {
            (user["name"], name): server["state"]["attempt"]
            for user in users
            for name, server in user["servers"].items()
            if server["state"]["attempt"]
        }


class PartedHub(FaultyHub):
    """The same hub in parts: workers, a store and a controller of the test's own, to be killed at a chosen point."""

    def __init__(self, folder: Path, slurm: Slurm, store: StoreServer) -> None:
        super().__init__(folder, slurm, redis_url=store.url)
        self.config.write_text(self.config.read_text().replace("[auth]", f'[state]\nredis_url = "{store.url}"\n[auth]'))
        self._process: subprocess.Popen[bytes] | None = None
        self._began = 0

    def begin(self) -> "PartedHub":
        """Create certificates, then start the workers."""
        done = subprocess.run(
            [sys.executable, "-m", "batch", "tls", "--with-gateway", *self.arguments()],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        self.start("gateway")
        return self

    def lead(self, fault: str = "") -> subprocess.Popen[bytes]:
        """Start a controller; with `fault`, it kills itself at that point."""
        more = {"TOWPATH_FAULT": fault} if fault else {}
        with (self.folder / "controller.log").open("ab") as log:
            self._began = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "batch", "controller", *self.arguments(), "--holder", "test"],
                cwd=self.folder,
                env={**self.environment(), **more, "TOWPATH_GATEWAY_PORT": str(self.port)},
                stdout=log,
                stderr=log,
            )
        return self._process

    @property
    def leads(self) -> bool:
        """Return whether a controller is running."""
        return self._process is not None and self._process.poll() is None

    def wait_leading(self) -> None:
        """Wait until the controller that was started last is leading."""
        log = self.folder / "controller.log"
        eventually(lambda: "manages the servers now" in log.read_text()[self._began :], what="a leader")

    def kill_leader(self) -> None:
        """Kill the controller with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)

    def end(self) -> None:
        """Stop the controller, then the workers."""
        self.kill_leader()
        self.stop()


class HubUser:
    """What a user does with servers, by API and browser. The default server's name is `""`."""

    def __init__(self, hub: FaultyHub, name: str) -> None:
        self.hub, self.name = hub, name
        self.browser = hub.browser_of(name)
        self.api = hub.api(name)

    def close(self) -> None:
        """Close the connections."""
        self.browser.close()
        self.api.close()

    def start(self, server: str = "", **choices) -> httpx.Response:
        """Request a server, which must be accepted."""
        answer = self.ask(server, **choices)
        assert answer.status_code in (201, 202), answer.text
        return answer

    def ask(self, server: str = "", **choices) -> httpx.Response:
        """Request a server; return the response."""
        return self.api.post(self._where(server), json={"profile": "app", **choices})

    def stop(self, server: str = "") -> httpx.Response:
        """Request a stop."""
        return self.api.delete(self._where(server))

    def model(self, server: str = "") -> dict:
        """Return the API's model of a server; empty if there is none."""
        return self.models().get(server, {})

    def models(self) -> dict:
        """Return the API's models of all servers. Raises httpx.HTTPError while the hub cannot answer."""
        return self.api.get(f"/users/{self.name}?include_stopped_servers=1").raise_for_status().json()["servers"]

    def until(self, status: str, server: str = "", *, seconds: float = 90) -> dict:
        """Wait for a status; return the model."""
        seen = {}

        def there():
            seen.update(self.model(server))
            return dict(seen) if seen.get("status") == status else None

        try:
            return eventually(there, seconds=seconds, what=f"{self.name}/{server} {status}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{seen}\n" + "\n".join(self.hub.output[-15:])) from None

    def reason(
        self, code: str, server: str = "", *, says: str = "", status: str = "failed", seconds: float = 90
    ) -> dict:
        """Wait for the reason of an end whose message contains `says`: details from accounting can be late."""
        self.until(status, server, seconds=seconds)
        seen = {}

        def there():
            seen.update(self.model(server)["reason"] or {})
            return seen.get("code") == code and says in seen["message"]

        try:
            eventually(there, what=f"{self.name}/{server}: {code}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{seen}\n" + "\n".join(self.hub.output[-15:])) from None
        return seen

    def app(self, server: str = "", path: str = "hello") -> dict:
        """Return the response of the app at the server's URL."""
        answer = self.browser.get(self.url(server) + path)
        if answer.status_code != 200:
            told = "\n".join(self.hub.output[-25:])
            raise AssertionError(f"{answer.text}\n{self.model(server)}\n{self.pending(server)}\n{told}")
        return answer.json()

    def answers(self, server: str = "") -> dict:
        """The same, once it is ready."""
        return eventually(
            lambda: (got := self.browser.get(self.url(server) + "hello")).status_code == 200 and got.json(),
            what=f"the answer of {self.name}/{server}",
        )

    def url(self, server: str = "") -> str:
        """Return the server's path."""
        return f"/user/{self.name}/{server}/" if server else f"/user/{self.name}/"

    def text(self, path: str) -> str:
        """Return the visible text of a page. Raises httpx.HTTPError for a 5xx."""
        answer = self.browser.get(path, headers={"Accept": "text/html"})
        if answer.is_server_error:
            answer.raise_for_status()
        return visible_text(answer.text)

    def reads(self, what: str, path: str, *, seconds: float = 60) -> str:
        """Wait until a page contains a text; return all of its text."""
        seen = ""

        def there() -> bool:
            nonlocal seen
            seen = self.text(path)
            return what in seen

        try:
            eventually(there, seconds=seconds, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{seen}\n" + "\n".join(self.hub.output[-25:])) from None
        return seen

    def pending(self, server: str = "") -> str:
        """Return the text of the page of its start."""
        return self.text(self.pending_path(server))

    def pending_path(self, server: str = "") -> str:
        """Return the path of that page."""
        return f"/hub/spawn-pending/{self.name}/{server}".rstrip("/")

    def attempt(self, server: str = "") -> str:
        """Return the id of its attempt, which an admin sees."""
        with self.hub.as_user("carol") as api:
            return api.get(f"/users/{self.name}?include_stopped_servers=1").json()["servers"][server]["state"][
                "attempt"
            ]

    def _where(self, server: str) -> str:
        return f"/users/{self.name}/servers/{server}" if server else f"/users/{self.name}/server"


def visible_text(page: str) -> str:
    """Return the visible text of a page."""
    page = re.sub(r"<(script|style|noscript)\b.*?</\1>", " ", page, flags=re.DOTALL)
    page = re.sub(r"<(p|div)\b[^>]*\shidden(?=[\s>])[^>]*>.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split()).replace(" ;", ";").replace(" .", ".")


def hold_of(slurm: Slurm, server: str) -> Path:
    """Return the file that keeps alice's app from starting while it exists; parallel clusters share her home."""
    return Path(pwd.getpwnam("alice").pw_dir, f"towpath-hold-{slurm.layout.cluster}-{server}")


def jobs_of(slurm: Slurm, attempt: str) -> dict[str, str]:
    """Return job id → state of all jobs that Slurm ever had for an attempt: in the queue and in accounting."""
    name = f"towpath-{attempt}"
    found = {}
    past = ("sacct", "-nPX", "--allusers", f"--name={name}", "--starttime=now-1hour", "--format=JobIDRaw,State")
    queue = ("squeue", "-h", "--states=all", f"--name={name}", "--format=%i|%T")
    for argv in (past, queue):
        found.update(line.split("|") for line in slurm.run(*argv).splitlines() if "|" in line)
    return found


def clear(hub: FaultyHub, *users: HubUser) -> None:
    """Stop everything, and wait until Slurm has no job of the hub's."""
    for user in users:
        for server, model in user.models().items():
            if not model["stopped"]:
                user.stop(server)
    for user in users:
        eventually(
            lambda user=user: all(model["stopped"] for model in user.models().values()),
            what="the end",
        )
    eventually(lambda: not hub.jobs(), what="the end of all jobs")


__all__ = ["FaultyHub", "HubUser", "PartedHub", "clear", "hold_of", "jobs_of", "short", "visible_text"]
