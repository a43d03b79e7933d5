"""A small app, a listener for reports, and a job that runs the one and reports to the other."""

import http.server
import json
import os
import secrets
import sys
import threading
import time
from pathlib import Path
from typing import Any

from batch.contract import JobSpec
from state.records.models import Server, Status, Target

SERVER = """
import _socket as s, os, sys, time
where = sys.argv[1]
tcp = where.isdigit()
sock = s.socket(s.AF_INET if tcp else s.AF_UNIX, s.SOCK_STREAM)
sock.bind(("127.0.0.1", int(where)) if tcp else where)
sock.listen(16)
{before}
while True:
    fd, _ = sock._accept()
    peer = s.socket(sock.family, s.SOCK_STREAM, 0, fd)
    peer.recv(4096)
    peer.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
    peer.close()
"""


def app(before: str = "", *, where: str = "{socket}", python: str = sys.executable) -> tuple[str, ...]:
    """Return the command of a small web app. `before` runs once it listens."""
    return (python, "-I", "-S", "-c", SERVER.replace("{before}", before), where)


class ReportListener:
    """A hub on a loopback port that keeps the reports of jobs, and answers with `status` and `body`."""

    def __init__(self, port: int = 0) -> None:
        self.reports: list[dict[str, Any]] = []
        self.tokens: list[str] = []
        self.status = 200
        self.body: dict[str, Any] = {}
        self.received = threading.Condition()
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["Content-Length"]))
                with hub.received:
                    hub.reports.append(json.loads(text))
                    hub.tokens.append(self.headers["Authorization"])
                    hub.received.notify_all()
                answer = json.dumps(hub.body).encode()
                self.send_response(hub.status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    @property
    def url(self) -> str:
        """Where jobs report."""
        return f"http://127.0.0.1:{self.port}/hub/api/towpath/report"

    def wait(self, kind: str, seconds: float = 30) -> dict[str, Any]:
        """Wait for the first report of this kind and return it."""

        def of_kind() -> list[dict[str, Any]]:
            return [report for report in self.reports if report["kind"] == kind]

        with self.received:
            found = self.received.wait_for(of_kind, seconds)
        assert found, f"no report {kind}, only {self.reports}"
        return found[0]

    def close(self) -> None:
        """Stop listening. Repeated calls do nothing."""
        if not self.thread.is_alive():
            return
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def fresh(user: str = "alice", name: str = "", *, profile: str = "stub") -> Server:
    """Return a server that was requested a moment ago."""
    return Server(
        user=user,
        name=name,
        target=Target.READY,
        status=Status.REQUESTED,
        attempt=secrets.token_hex(16),
        profile=profile,
        cluster="local",
        requested=time.time(),
    )


def job_spec(hub_url: str, **more: Any) -> JobSpec:
    """Return a job of alice's server `lab`, which runs the small app. `more`: fields that differ."""
    server = fresh("alice", "lab")
    values: dict[str, Any] = {
        "attempt": server.attempt,
        "user": "alice",
        "server": "lab",
        "command": app(python="/usr/bin/python3"),
        "environment": {"PATH": os.environ["PATH"]},
        "directory": "/",
        "base_path": "/user/alice/lab/",
        "hub_urls": (hub_url,),
        "report_token": secrets.token_hex(8),
        "secrets": (),
        "start_window": 600.0,
        "record": server,
        "grace": 2.0,
    }
    return JobSpec(**{**values, **more})


def processes_by_attempt() -> dict[str, list[int]]:
    """Return the processes of jobs on this machine: attempt → process ids."""
    found: dict[str, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                variables = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            for variable in variables:
                if variable.startswith(b"TOWPATH_ATTEMPT="):
                    found.setdefault(variable.decode().partition("=")[2], []).append(int(entry.name))
    return found
