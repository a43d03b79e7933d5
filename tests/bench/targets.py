"""The targets of the data plane's benchmark: the app itself, CHP, nginx. Towpath is in `tests.bench.towpath`.

Owns how each peer is started and gets its routes. Each has the configuration that a careful operator would use.
"""

import getpass
import json
import secrets
from pathlib import Path
from typing import Protocol

from tests.bench import web
from tests.bench.machine import children
from tests.bench.process import BENCH_PYTHON, HERE, BenchError, Child, bench_environment
from tests.ports import free_port

PREFIX = "/user/bench/"


class Target(Protocol):
    """A proxy for HTTP and WebSockets to the app. `name` is its column in the report."""

    name: str

    async def start(self) -> None:
        """Start it with its routes. Raises BenchError."""

    def url(self, kind: str, path: str) -> str:
        """Return the URL of an app's path; `kind` is `http` or `ws`."""

    def headers(self) -> dict[str, str]:
        """The header fields of every request."""

    def pids(self) -> list[int]:
        """The pids of the processes that carry the bytes."""

    async def stop(self) -> None:
        """Stop it with all its processes."""


class Upstream:
    """The app: one process for HTTP, one for WebSocket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports: dict[str, int] = {}
        self.children: list[Child] = []

    async def start(self) -> None:
        """Start both and wait until they listen."""
        for kind in ("http", "ws"):
            port = free_port()
            command = [BENCH_PYTHON, str(HERE / "upstream.py"), kind, str(port)]
            child = Child(command, self.folder / f"upstream-{kind}.log", environment=bench_environment())
            self.children.append(child)
            await child.until_listening(port)
            self.ports[kind] = port

    async def stop(self) -> None:
        """Stop both."""
        for child in self.children:
            await child.stop()


class Base:
    """Base class of the peers: one port, the headers, and one child."""

    name = ""

    def __init__(self, upstream: Upstream, folder: Path) -> None:
        self.upstream = upstream
        self.folder = folder
        self.port = free_port()
        self.child: Child | None = None
        self.cookie = "towpath-session=" + secrets.token_urlsafe(32)

    def url(self, kind: str, path: str) -> str:
        """See Target."""
        return f"{kind}://127.0.0.1:{self.port}{PREFIX}{kind}/{path}"

    def headers(self) -> dict[str, str]:
        """The same fields for every target: a cookie as long as Towpath's, and an Origin."""
        return {"Cookie": self.cookie, "Origin": f"http://127.0.0.1:{self.port}"}

    def pids(self) -> list[int]:
        """See Target."""
        return [self.child.pid] if self.child else []

    async def stop(self) -> None:
        """See Target."""
        if self.child:
            await self.child.stop()


class Direct(Base):
    """No proxy: the limit of the load and the app on this machine."""

    name = "direct"

    async def start(self) -> None:
        """Do nothing: the app is already running."""

    def url(self, kind: str, path: str) -> str:
        """See Target."""
        return f"{kind}://127.0.0.1:{self.upstream.ports[kind]}{PREFIX}{kind}/{path}"


class Chp(Base):
    """configurable-http-proxy, with routes set through its API, as JupyterHub does."""

    name = "chp"

    async def start(self) -> None:
        """See Target."""
        api, token = free_port(), secrets.token_hex(16)
        command = [
            str(HERE / "node_modules/.bin/configurable-http-proxy"), "--ip", "127.0.0.1", "--port", str(self.port),
            "--api-ip", "127.0.0.1", "--api-port", str(api), "--log-level", "error",
        ]  # fmt: skip
        environment = {"CONFIGPROXY_AUTH_TOKEN": token, "NODE_ENV": "production"}
        self.child = Child(command, self.folder / "chp.log", environment=environment)
        await self.child.until_listening(self.port)
        await self.child.until_listening(api)
        for kind, port in self.upstream.ports.items():
            answer = await web.request(
                "POST", f"http://127.0.0.1:{api}/api/routes{PREFIX}{kind}", {"Authorization": f"token {token}"},
                json.dumps({"target": f"http://127.0.0.1:{port}"}).encode(),
            )  # fmt: skip
            if answer.status != 201:
                raise BenchError(f"CHP refused a route: {answer.status}")


NGINX = """
daemon off;
user {user};
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_max_body_size 0;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-f; uwsgi_temp_path {folder}/nginx-u; scgi_temp_path {folder}/nginx-s;
    tcp_nodelay on;
    keepalive_requests 1000000;
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_read_timeout 1h;
    {more}
    upstream app {{ server 127.0.0.1:{http}; keepalive 256; keepalive_requests 1000000; }}
    upstream echo {{ server 127.0.0.1:{ws}; }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location {prefix}http/ {{ proxy_pass http://app; proxy_set_header Connection ""; }}
        location {prefix}ws/ {{
            proxy_pass http://echo;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
        }}
    }}
}}
"""


class Nginx(Base):
    """nginx with one worker, kept-alive upstream connections and no access log, and with default buffering."""

    name = "nginx"
    more = ""

    async def start(self) -> None:
        """See Target."""
        text = NGINX.format(
            folder=self.folder,
            port=self.port,
            prefix=PREFIX,
            user=getpass.getuser(),
            more=self.more,
            **self.upstream.ports,
        )
        config = self.folder / "nginx.conf"
        config.write_text(text)
        self.child = Child(["/usr/sbin/nginx", "-p", str(self.folder), "-c", str(config)], self.folder / "nginx.log")
        await self.child.until_listening(self.port)

    def pids(self) -> list[int]:
        """The pid of the worker, not of the master."""
        return children(self.child.pid) if self.child else []


class NginxTuned(Nginx):
    """nginx with large buffers: bodies are streamed in both directions and never written to disk."""

    name = "nginx-tuned"
    more = (
        "proxy_request_buffering off; proxy_buffer_size 64k; proxy_buffers 16 64k;"
        " proxy_busy_buffers_size 256k; proxy_max_temp_file_size 0;"
    )
