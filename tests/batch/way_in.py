"""A starter with a passport, as a node runs it, and the certificates to knock at its door with."""

import contextlib
import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import tempfile
from pathlib import Path

from batch.authority import Authority, ensure
from batch.bundle import starter_source
from batch.contract import Passport
from state.config.tables import Config, GatewayConfig
from tests.batch.apps import Hub

PYTHON = os.environ.get("TOWPATH_TEST_NODE_PYTHON", "/usr/bin/python3")
"""What nodes run the starter with: readable by every user of the machine; 3.6 or newer."""
# Looked for in the machine's processes and files: nobody else's may be the same.
ATTEMPT, OTHER = secrets.token_hex(16), secrets.token_hex(16)
TOKEN, SECRET = f"report-token-{secrets.token_hex(8)}", f"app-secret-{secrets.token_hex(8)}"

ECHO = """
import os, socket, sys, threading
where = sys.argv[1]
if where.isdigit():
    sock = socket.socket()
    sock.bind(("127.0.0.1", int(where)))
else:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(where)
sock.listen(64)
def serve(peer):
    first = peer.recv(65536)
    if first.startswith(b"GET"):
        body = b"x" * int(first.split()[1].rpartition(b"/")[2] or 2)
        peer.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
    elif first.startswith(b"EARLY"):
        peer.sendall(b"no, thank you")
    elif first.startswith(b"LAST"):
        peer.sendall(b"my last word")
        peer.shutdown(socket.SHUT_WR)
        got = first
        while True:
            part = peer.recv(65536)
            if not part: break
            got += part
        print("heard", len(got), flush=True)
    elif first.startswith(b"SLOW"):
        import time
        while not os.path.exists(os.environ["GATE"]): time.sleep(0.02)
        size = len(first)
        while size < 65536000:
            size += len(peer.recv(65536))
        peer.sendall(b"%d" % size)
    else:
        while first:
            peer.sendall(first)
            first = peer.recv(65536)
    peer.close()
while True:
    threading.Thread(target=serve, args=(sock.accept()[0],), daemon=True).start()
"""


def echo(where="{socket}"):
    """The command of an app that answers GET /SIZE, and says everything else back."""
    return (PYTHON, "-I", "-S", "-c", ECHO, where)


class Node:
    """A place for one job's starter, the hub's authority beside it. `uid`: who the job runs as; 0: we ourselves."""

    def __init__(self, *, uid=0):
        self.uid = uid
        self.root = Path(tempfile.mkdtemp(prefix="towpath-node-"))
        self.root.chmod(0o755)
        self.hub_dir = self.root / "hub"
        self.hub_dir.mkdir(mode=0o700)
        ensure(self.hub_dir, Config(gateway=GatewayConfig(report_host="127.0.0.1")))
        self.authority = Authority.load(self.hub_dir)
        self.home = self.root / "home"
        self.home.mkdir(mode=0o755)
        self.program = self.root / "starter.py"
        self.program.write_text(starter_source())
        self.program.chmod(0o644)
        if uid:
            os.chown(self.home, uid, uid)
        self.hub = Hub()
        self.processes = []

    def start(self, command=None, *, environment=None, passport=True, own=None, wrapper=(), **more):
        """Run the starter; `own` is the environment that Slurm would give it, `wrapper` a command to run it by."""
        spec = {
            "attempt": ATTEMPT,
            "user": "alice",
            "server": "",
            "folder": str(self.home / "job"),
            "command": list(command or echo()),
            "environment": {"PATH": "/usr/bin:/bin", "JUPYTER_TOKEN": SECRET, **(environment or {})},
            "directory": str(self.home),
            "base_path": "/user/alice/2",
            "hub_urls": [self.hub.url],
            "report_token": TOKEN,
            "secrets": [SECRET],
            "start_window": 120,
            "grace": 5,
            "end_patience": 2,
            "address": "127.0.0.1",
            **more,
        }
        if passport:
            spec["passport"] = as_json(passport if isinstance(passport, Passport) else self.authority.passport(ATTEMPT))
        process = subprocess.Popen(
            [*wrapper, PYTHON, "-I", "-S", str(self.program)],
            stdin=subprocess.PIPE,
            env={"LC_ALL": "C.UTF-8", **(own or {})},
            **({"user": self.uid, "group": self.uid, "extra_groups": []} if self.uid else {}),
        )
        process.stdin.write(json.dumps(spec).encode())
        process.stdin.close()
        self.processes.append(process)
        return process

    def ready(self):
        """Where the gateway finds it: (host, port)."""
        endpoint = self.hub.wait("ready")["endpoint"]
        assert endpoint["kind"] == "tls", endpoint
        return endpoint["host"], endpoint["port"]

    def gateway(self):
        """The gateway's own way of connecting."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.hub_dir / "tls" / "authority.pem")
        context.load_cert_chain(self.hub_dir / "tls" / "gateway.pem")
        return context

    def dial(self, where, context=None, name=f"{ATTEMPT}.towpath.internal"):
        """A connection as the gateway's, or with another `context`."""
        plain = socket.create_connection(where, 10)
        try:
            return (context or self.gateway()).wrap_socket(plain, server_hostname=name)
        except BaseException:
            plain.close()
            raise

    def ask(self, where, size=2):
        """One request through the door; what came."""
        with contextlib.closing(self.dial(where)) as peer:
            peer.sendall(b"GET /%d HTTP/1.1\r\n\r\n" % size)
            return drain(peer)

    def children(self, process):
        """The pids that the starter has forked and that still live: the app, and the way in."""
        text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        return [int(pid) for pid in text.split()]

    def front(self, process):
        """The way in's pid."""
        name = process.args[-1].encode()
        return next(pid for pid in self.children(process) if name in Path(f"/proc/{pid}/cmdline").read_bytes())

    def close(self):
        """End what was started, remove what was made."""
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
            process.wait(30)
        self.hub.close()
        shutil.rmtree(self.root)


def as_json(passport):
    """Return a passport as in the specification."""
    return {
        "name": passport.name,
        "certificate": passport.certificate,
        "key": passport.key,
        "authority": passport.authority,
    }


def drain(peer):
    """All that comes until the peer closes."""
    parts = []
    while part := peer.recv(65536):
        parts.append(part)
    return b"".join(parts)
