"""A hub on the tests' cluster: `towpath serve` as root, which submits each job as its user."""

import os
import secrets
from pathlib import Path

from deploy.devcluster import hub as offered
from tests.hub import Hub, eventually
from tests.ports import free_port
from tests.slurm import Slurm

APPS = Path(os.environ.get("TOWPATH_TEST_APPS", "/var/tmp/towpath-apps"))

STUB_APP = """
import os, socket, sys
# A small web app: answers every request with who and where it is, and the path.
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o600)
server.listen(64)
print("stub app is up", flush=True)
while True:
    connection, _ = server.accept()
    head = b""
    while b"\\r\\n\\r\\n" not in head:
        chunk = connection.recv(65536)
        if not chunk:
            break
        head += chunk
    line = head.split(b"\\r\\n", 1)[0].decode("latin-1").replace('"', "")
    body = '{"pid": %d, "uid": %d, "node": "%s", "line": "%s"}' % (os.getpid(), os.getuid(), socket.gethostname(), line)
    head = "HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n"
    connection.sendall((head % len(body) + body).encode())
    connection.close()
"""

STUB_PROFILES = """
[[profile]]
name = "stub"
cluster = "devcluster"
app = "web"
command = ["/usr/bin/python3", "-I", "-S", "-c", '''{stub}''', "{{socket}}"]
default_path = "hello"
{fields}

[[profile]]
name = "exits"
cluster = "devcluster"
app = "web"
command = ["/bin/sh", "-c", "echo the licence server is down; exit 3", "{{socket}}"]
{fields}

[[profile]]
name = "silent"
cluster = "devcluster"
app = "web"
command = ["/bin/sh", "-c", "echo thinking; exec sleep 600", "{{socket}}"]
{fields}

[[profile]]
name = "greedy"
cluster = "devcluster"
app = "web"
command = ["/usr/bin/python3", "-I", "-S", "-c", '''{greedy}''', "{{socket}}"]
{fields}
"""

GREEDY_APP = STUB_APP.replace(
    'print("stub app is up", flush=True)',
    'print("filling memory", flush=True)\nheld = []\nimport time\nfor _ in range(64):\n    held.append(bytearray(os.urandom(1 << 20) * 32))\n    time.sleep(0.05)',
)


class SlurmHub(Hub):
    """One run of `towpath serve` on a cluster."""

    def __init__(
        self, folder: Path, slurm: Slurm, *, apps: bool = False, window: int = 60, cluster: str = "", **more
    ) -> None:
        self.slurm = slurm
        port, report_port = free_port(), free_port()
        text = offered.config(slurm.layout, apps=APPS, port=port, users=("alice", "bob"), report_port=report_port)
        text = text.replace("start_window =", f"{cluster}\nstart_window =", 1)
        if not apps:
            text = text[: text.index("[[profile]]")].replace("start_window = 180", f"start_window = {window}")
            text += STUB_PROFILES.format(stub=STUB_APP, greedy=GREEDY_APP, fields=offered.FIELDS)
        super().__init__(folder, config=text, **more)
        self.port = port

    def as_user(self, name: str):
        """Return an API client with a token of a user who has signed in once."""
        self.browser_of(name).close()
        return self.api(name)

    def start_one(self, api, user: str, name: str = "", **options):
        """Request a server; return the response."""
        where = f"/users/{user}/servers/{name}" if name else f"/users/{user}/server"
        return api.post(where, json=options)

    def server(self, api, user: str, name: str = ""):
        """Return the server's model, or None."""
        return api.get(f"/users/{user}?include_stopped_servers=1").json()["servers"].get(name)

    def until(self, api, user: str, name: str = "", *, status: str, seconds: float = 60):
        """Wait for a status; return the model."""

        def check():
            model = self.server(api, user, name)
            return model if model and model["status"] == status else None

        try:
            return eventually(check, seconds=seconds, what=f"{user}/{name} {status}")
        except AssertionError as error:
            raise AssertionError(self.server(api, user, name)) from error

    def jobs(self) -> list[tuple[str, str, str]]:
        """Return the hub's jobs as squeue shows them: (id, name, state), without those that have ended."""
        rows = [row.split("|") for row in self.slurm.run("squeue", "-h", "-o", "%i|%j|%T").split("\n") if row.strip()]
        return [(row[0], row[1], row[2].strip()) for row in rows if row[1].startswith("towpath-")]


def short(folder: Path) -> Path:
    """Return a folder with a short path for sockets."""
    made = folder / f"h{secrets.token_hex(3)}"
    made.mkdir()
    return made
