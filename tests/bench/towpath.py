"""Towpath as a Target and as a Hub: `towpath serve` with a configuration file and all features on.

Owns everything that the benchmark assumes about Towpath beyond the REST API: the ready line, the address of the
embedded Valkey, the cookie's name, how a profile is requested.

There are two ways to create routes. `api`: the benchmark's app runs as a server of the user, started through the REST
API. `store`: routes to an external app are written to the feed; the controller is stopped (SIGSTOP), because it would
remove routes without a server.
"""

import asyncio
import contextlib
import getpass
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from state.names import server_path, user_name
from state.records.models import Endpoint, Route, Server, Session, Status, Target, User
from tests.bench import machine, web
from tests.bench.process import (
    BENCH_PYTHON,
    HERE,
    BenchError,
    Child,
    base_python,
    bench_environment,
    output_of,
)
from tests.bench.targets import Upstream
from tests.ports import free_port

if TYPE_CHECKING:
    from state.store.all import Store

READY = "Towpath is ready at"
COOKIE = "towpath-session"
COMMAND = str(Path(sys.executable).with_name("towpath"))


def redis_url(data: Path) -> str:
    """Return the URL of the embedded Valkey of a data directory."""
    return f"unix://{data}/valkey.sock"


async def opened(data: Path) -> "Store":
    """Open the store of a running hub. The import is here so that running only the peers needs no Redis client."""
    from state.store.all import Store

    return await Store.open(redis_url(data))


def configuration(*, isolated: bool = False) -> str:
    """Return the configuration: the benchmark's profiles, and defaults for everything else.

    The apps of all peers are on the same kind of socket: a port that all users of the machine can reach. `isolated`: in
    networks of their own, behind a relay, as Towpath runs apps on ports by default.
    """

    def profile(name: str, command: list[str], *more: str) -> str:
        table = f'[[profile]]\nname = "{name}"\ncluster = "local"\napp = "web"\ncommand = {json.dumps(command)}\n'
        table += "".join(f"{line}\n" for line in more)
        fields = ", ".join(f"{key} = {json.dumps(value)}" for key, value in bench_environment().items())
        return table + f"environment = {{ {fields} }}\n"

    upstream = str(HERE / "upstream.py")
    shared = f"shared_node_port = {json.dumps(not isolated)}"
    return "\n".join([
        '[[cluster]]\nname = "local"\nkind = "local"\n',
        profile("stub", [base_python(), "-I", "-S", str(HERE / "stub.py"), "--socket", "{socket}"]),
        profile("http", [BENCH_PYTHON, upstream, "http", "{port}"], shared),
        profile("ws", [BENCH_PYTHON, upstream, "ws", "{port}"], shared),
    ])  # fmt: skip


def options(profile: str) -> bytes:
    """Return the body of a start request: the user options, as in JupyterHub."""
    return json.dumps({"profile": profile}).encode()


class Towpath:
    """See `targets.Target` and `hubs.Hub`."""

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        workers: int,
        upstream: Upstream | None = None,
        publish: str = "",
        isolated: bool = False,
    ) -> None:
        self.name = name
        self.folder = folder
        self.data = folder / "data"
        self.workers = workers
        self.upstream = upstream
        self.publish = publish
        self.isolated = isolated
        self.port = free_port()
        self.user = user_name(getpass.getuser())
        self.child: Child | None = None
        self.took = 0.0
        self.token = ""
        self.ticket = ""
        self.started: list[str] = []
        self.held: list[int] = []

    @property
    def address(self) -> str:
        """See Hub."""
        return f"http://127.0.0.1:{self.port}"

    def authorization(self) -> dict[str, str]:
        """See Hub."""
        return {"Authorization": f"token {self.token}"}

    def start_body(self) -> bytes:
        """See Hub."""
        return options("stub")

    def url(self, kind: str, path: str) -> str:
        """See Target."""
        return f"{kind}://127.0.0.1:{self.port}{server_path('/', self.user, kind)}{path}"

    def headers(self) -> dict[str, str]:
        """See Target. These are a signed-in browser's."""
        return {"Cookie": f"{COOKIE}.{self.port}={self.ticket}", "Origin": self.address}

    def pids(self) -> list[int]:
        """See Target. These are the gateway's workers."""
        return self._children("gateway.worker")

    def _children(self, part: str) -> list[int]:
        if not self.child:
            return []
        return [pid for pid in machine.children(self.child.pid) if part in machine.command_line(pid)]

    async def launch(self) -> None:
        """Run `towpath serve`; `took` is the time in seconds until it was ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "towpath.toml"
        config.write_text(self.configuration())
        self.child = Child(self.command(config), self.folder / "serve.log")
        self.took = await self.child.wait_for_output(READY)

    def configuration(self) -> str:
        """Return its towpath.toml."""
        return configuration(isolated=self.isolated)

    def command(self, config: Path) -> list[str]:
        """Return its argv."""
        return [
            COMMAND, "serve", "--config", str(config), "--data-dir", str(self.data), "--port", str(self.port),
            "--workers", str(self.workers),
        ]  # fmt: skip

    async def start(self) -> None:
        """See Target. Also signs in and creates the routes as `publish` says."""
        await self.launch()
        await self._sign_in()
        where = ["--config", str(self.folder / "towpath.toml"), "--data-dir", str(self.data)]
        self.token = (await output_of([COMMAND, "token", self.user, *where])).strip()
        if self.publish == "api":
            await self._start_apps()
        elif self.publish == "store":
            await self._publish_routes()

    async def _sign_in(self) -> None:
        store = await opened(self.data)
        try:
            now = time.time()
            if await store.users.get(self.user) is None:
                await store.users.add(User(name=self.user, admin=True, created=now))
            session = Session(id=os.urandom(8).hex(), user=self.user, created=now, expires=now + 86400)
            self.ticket = await store.sessions.open(session)
        finally:
            await store.close()

    async def _start_apps(self) -> None:
        for kind in ("http", "ws"):
            url = f"{self.address}/hub/api/users/{self.user}/servers/{kind}"
            answer = await web.request("POST", url, self.authorization(), options(kind))
            if answer.status not in (201, 202):
                raise BenchError(f"{self.name}: the app was not started: {answer.status} {answer.body[:300]!r}")
            self.started.append(url)
            deadline = time.perf_counter() + 120
            while not await self._ready(kind):
                if time.perf_counter() > deadline:
                    raise BenchError(f"{self.name}: the {kind} app does not become ready")
                await asyncio.sleep(0.1)

    async def _ready(self, kind: str) -> bool:
        answer = await web.request("GET", f"{self.address}/hub/api/users/{self.user}", self.authorization())
        return bool(answer.json().get("servers", {}).get(kind, {}).get("ready"))

    async def _publish_routes(self) -> None:
        if self.upstream is None:
            raise BenchError("there is no app for the routes")
        self.hold_controller()
        store = await opened(self.data)
        try:
            for kind, port in self.upstream.ports.items():
                endpoint = Endpoint(kind="tcp", host="127.0.0.1", port=port)
                prefix = server_path("/", self.user, kind)
                await store.feed.set_route(
                    Route(prefix=prefix, user=self.user, name=kind, attempt="0" * 32, endpoint=endpoint)
                )
        finally:
            await store.close()
        await asyncio.sleep(1)

    def hold_controller(self) -> None:
        """Stop the controller (SIGSTOP), so that it does not remove routes without a server."""
        for pid in self._children("controller"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                self.held.append(pid)

    async def publish_many(self, count: int) -> None:
        """Fill the routing table with routes to nowhere."""
        self.hold_controller()
        store = await opened(self.data)
        try:
            for first in range(0, count, 200):
                await asyncio.gather(*(
                    store.feed.set_route(Route(
                        prefix=server_path("/", f"r{number:05d}", ""), user=f"r{number:05d}", name="",
                        attempt=f"{number:032x}", credential="token " + os.urandom(24).hex(),
                        endpoint=Endpoint(kind="tcp", host="127.0.0.1", port=1 + number),
                    ))
                    for number in range(first, min(count, first + 200))
                ))  # fmt: skip
        finally:
            await store.close()

    async def fill(self, users: int, servers: int) -> None:
        """Write users, and ready servers of the first of them with their routes, to the store."""
        self.hold_controller()
        store = await opened(self.data)

        async def add(number: int) -> None:
            name, now = f"c{number:05d}", time.time()
            await store.users.add(User(name=name, created=now, groups=(f"course{number % 50}",)))
            if number >= servers:
                return
            endpoint = Endpoint(kind="tcp", host="127.0.0.1", port=1 + number)
            attempt = f"{number:032x}"
            await store.servers.save(
                Server(
                    user=name, target=Target.READY, status=Status.READY, attempt=attempt, profile="http",
                    cluster="local", requested=now, running=now, ready=now, endpoint=endpoint,
                ),
                wake=False,
            )  # fmt: skip
            prefix = server_path("/", name, "")
            await store.feed.set_route(Route(prefix=prefix, user=name, name="", attempt=attempt, endpoint=endpoint))

        try:
            for first in range(0, users, 200):
                await asyncio.gather(*(add(number) for number in range(first, min(users, first + 200))))
        finally:
            await store.close()
        await asyncio.sleep(1)

    async def stop(self) -> None:
        """See Target. Users' servers would keep running, so they are stopped first."""
        if not self.child:
            return
        for pid in self.held:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        if self.child.process.poll() is None:
            for url in self.started:
                await web.request("DELETE", url, self.authorization())
            for url in self.started:
                await self._until_stopped(url.rpartition("/")[2])
        await self.child.stop()

    async def _until_stopped(self, kind: str) -> None:
        for _ in range(100):
            answer = await web.request("GET", f"{self.address}/hub/api/users/{self.user}", self.authorization())
            server = answer.json().get("servers", {}).get(kind, {})
            if not server.get("ready") and not server.get("pending"):
                return
            await asyncio.sleep(0.1)
