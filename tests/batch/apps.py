"""Small apps for jobs that start quickly, and a hub that receives reports."""

import http.server
import json
import sys
import threading
from pathlib import Path

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


def app(before: str = "", *, where: str = "{socket}") -> tuple[str, ...]:
    """Return the command of a small web app; `before` runs once it listens."""
    return (sys.executable, "-I", "-S", "-c", SERVER.replace("{before}", before), where)


def script(text: str, where: str = "{socket}") -> tuple[str, ...]:
    """Return the command that runs Python code."""
    return (sys.executable, "-I", "-S", "-c", text, where)


class Hub:
    """A hub on a loopback port that records reports and sends a chosen response."""

    def __init__(self, port: int = 0) -> None:
        self.reports: list[dict] = []
        self.tokens: list[str] = []
        self.status = 200
        self.body: dict = {}
        self.heard = threading.Condition()
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["Content-Length"]))
                with hub.heard:
                    hub.reports.append(json.loads(text))
                    hub.tokens.append(self.headers["Authorization"])
                    hub.heard.notify_all()
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
        return f"http://127.0.0.1:{self.port}/hub/api/towpath/report"

    def wait(self, kind: str, seconds: float = 30) -> dict:
        """Wait for the first report of this kind."""
        with self.heard:
            found = self.heard.wait_for(lambda: [r for r in self.reports if r["kind"] == kind], seconds)
        assert found, f"no report {kind}, only {self.reports}"
        return found[0]

    def close(self) -> None:
        """Stop listening. Calling it again does nothing."""
        if not self.thread.is_alive():
            return
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def readable_by_others(path: Path) -> bool:
    return bool(path.lstat().st_mode & 0o077)
