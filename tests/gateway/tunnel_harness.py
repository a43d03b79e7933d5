"""A real worker process (the door's server on uvloop) with a Tunnel and fixed routes, and the raw sockets to try it with.

Run as a program it is the worker; imported it starts and stops one. Control paths under `/_control/` stand for what
the gateway's app does: look at counters, end callers, drop routes, drain.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import parse_qs
from urllib.request import urlopen

from tests.ports import free_port

NODE = f"{'5' * 32}.towpath.internal"
ROOT = Path(__file__).resolve().parents[2]


class Worker:
    """`with Worker({"/user/a/": ("tcp", port)}) as worker:`; values may also be ("unix", path), or of `Upstream.site`."""

    def __init__(self, routes, *, credential="token secret", address="127.0.0.1", host="127.0.0.1", **options):
        self.host = host
        self._writers = []
        for prefix, leads in list(routes.items()):
            if len(leads) == 2 and isinstance(leads[1], dict):  # an endpoint of `Upstream.site`
                routes[prefix], more = leads
                options = {**more, **options}
        self.port = options["reverse"]["port"] if "reverse" in options else free_port()
        self.origin = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self._plan = {
            "port": self.port,
            "address": address,
            "host": host,
            "routes": {prefix: list(endpoint) for prefix, endpoint in routes.items()},
            "credential": credential,
            "options": options,
        }

    def __enter__(self):
        environment = dict(os.environ, PYTHONPATH=str(ROOT))
        self.process = subprocess.Popen(
            [sys.executable, __file__, json.dumps(self._plan)], stdout=subprocess.PIPE, env=environment, text=True
        )
        line = self.process.stdout.readline()
        assert line.strip() == "ready", line
        return self

    def __exit__(self, *_):
        for writer in self._writers:  # those that a test has left open
            writer.transport.abort()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def control(self, path):
        with urlopen(f"http://{self.origin}/_control/{path}", timeout=60) as response:
            return json.load(response)

    def rss(self):
        """Resident bytes of the worker now."""
        statm = Path(f"/proc/{self.process.pid}/statm").read_text()
        return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self):
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    async def connect(self, *, source=None):
        """`source`: the address that the connection comes from."""
        local = None if source is None else (source, 0)
        reader, writer = await asyncio.open_connection(self.host, self.port, limit=2**20, local_addr=local)
        self._writers.append(writer)
        return reader, writer

    async def ask(self, data, *, timeout=60):
        """Send `data`, and return all that comes until the worker closes."""
        reader, writer = await self.connect()
        writer.write(data)
        try:
            async with asyncio.timeout(timeout):
                return await reader.read(-1)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def get(self, path="/user/a/", *, method="GET", headers="", body=b""):
        """One request on a connection of its own: (status, {lower-case name: [values]}, body)."""
        if body:
            headers += f"Content-Length: {len(body)}\r\n"
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.origin}\r\nConnection: close\r\n{headers}\r\n"
        return parse(await self.ask(head.encode() + body))


def parse(raw):
    """(status, fields, body) of one response; a chunked body is joined and must be whole."""
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    fields = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        fields.setdefault(name.lower(), []).append(value.strip())
    if "transfer-encoding" in fields:
        joined = b""
        while True:
            size, _, body = body.partition(b"\r\n")
            count = int(size, 16)
            if count == 0:
                break
            joined += body[:count]
            body = body[count + 2 :]
        body = joined
    return int(lines[0].split()[1]), fields, body


class Upstream:
    """An app whose every connection is a script: `async def script(reader, writer)`.

    `async with Upstream(script) as app:`; `app.endpoint` leads to it; `app.seen` collects what scripts put there.
    """

    site = None
    """The way in that all tests are run with; None: straight to the socket (tests/gateway/tunnel/conftest.py)."""

    def __init__(self, script, *, path=None):
        self.script = script
        self.path = path
        self.leading = contextlib.ExitStack()
        self.seen = []
        self.connections = self.closed = 0

    async def __aenter__(self):
        if self.site is not None:
            path = self.site.socket()
            self.server = await asyncio.start_unix_server(self._serve, path, limit=2**20)
            self.site.own(path)
            self.endpoint = self.leading.enter_context(self.site.leading_to(path))
        elif self.path:
            self.server = await asyncio.start_unix_server(self._serve, self.path, limit=2**20)
            self.endpoint = ("unix", str(self.path))
        else:
            self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**20)
            self.endpoint = ("tcp", self.server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_):
        self.server.close()
        self.leading.close()

    async def _serve(self, reader, writer):
        self.connections += 1
        try:
            await self.script(reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            self.closed += 1


async def read_request(reader):
    """(head bytes with the blank line, body bytes as framed on the wire and joined)."""
    head = await reader.readuntil(b"\r\n\r\n")
    lower = head.lower()
    body = b""
    if b"\r\ntransfer-encoding: chunked" in lower:
        while True:
            size = int(await reader.readline(), 16)
            body += (await reader.readexactly(size + 2))[:-2]
            if size == 0:
                break
    else:
        for line in lower.split(b"\r\n"):
            if line.startswith(b"content-length:"):
                body = await reader.readexactly(int(line.split(b":")[1]))
    return head, body


def answers(*raw):
    """A script that records each request in its own `seen` and gives the next answer; the last one is repeated."""

    async def script(reader, writer):
        turn = 0
        while True:
            request = await read_request(reader)
            script.seen.append(request)
            writer.write(raw[min(turn, len(raw) - 1)])
            await writer.drain()
            turn += 1

    script.seen = []
    return script


async def until(condition, *, timeout=60):
    """Poll until `condition()` is true."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.01)


# The worker process


class Gate:
    """The handler: routes are known, all users may use them."""

    def __init__(self, plan, reverse):
        self.warm = False
        from gateway.tunnel import Tunnel, TunnelOptions
        from gateway.ways_in.direct import DirectWayIn
        from gateway.ways_in.identity import GatewayIdentity
        from gateway.ways_in.sockets import TcpWayIn, UnixWayIn
        from state.records.models import Endpoint, Route

        options = dict(plan["options"])
        networks = tuple(ip_network(each) for each in options.pop("trusted_proxies", ()))
        hidden = frozenset(name.encode() for name in options.pop("hidden_cookies", ("towpath-session",)))
        self.limits = options.pop("limits", {})
        ways_in = {"unix": UnixWayIn(), "tcp": TcpWayIn()}
        if "identity" in options:
            ways_in["tls"] = DirectWayIn(GatewayIdentity(Path(options.pop("identity"))))
        if "ssh" in options:
            self.warm = options["ssh"].pop("warm", False)
            ways_in["ssh-socket"] = ssh_way_in(**options.pop("ssh"))
        self.dials = None
        if reverse is not None:
            ways_in["reverse"], self.dials = reverse[0][-1], reverse[1]
        self.noted = []
        self.tunnel = Tunnel(
            TunnelOptions(
                trusted_proxies=networks,
                hidden_cookies=hidden,
                on_activity=lambda route: self.noted.append(route.user),
                ways_in=ways_in,
                **options,
            )
        )
        self.routes = {}
        for prefix, (kind, where) in plan["routes"].items():
            endpoint = {
                "unix": lambda where: Endpoint(kind="unix", path=where),
                "tcp": lambda where: Endpoint(kind="tcp", host="127.0.0.1", port=where),
                "tls": lambda where: Endpoint(kind="tls", host=where[0], port=where[1], name=where[2]),
                "reverse": lambda where: Endpoint(kind="reverse", name=where),
                "ssh": lambda where: Endpoint(kind="ssh-socket", path=where, name=NODE, server="alice/"),
            }[kind](where)
            user = prefix.split("/")[2]
            self.routes[prefix] = Route(
                prefix=prefix, user=user, name="", attempt="0" * 32, endpoint=endpoint, credential=plan["credential"]
            )
        self.tasks = set()

    def handle(self, request):
        from gateway.tunnel import Caller

        if request.path.startswith(b"/_control/"):
            task = asyncio.ensure_future(self.control(request))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
            return
        if self.dials is not None and request.path == self.dials.path:
            self.dials.handle(request)
            return
        segments = request.path.decode("latin-1").split("/")
        route = self.routes.get("/".join(segments[:3]) + "/")
        user = segments[2] if len(segments) > 2 else ""
        caller = Caller(user=user, digest="d", by_cookie=True, source=request.client.peer)
        if route is None:
            answer(request, 404, "no route")
        elif request.head.websocket:
            self.tunnel.websocket(request, route, caller=caller, refuse=refuse)
        else:
            self.tunnel.http(request, route, caller=caller, refuse=refuse)

    async def control(self, request):
        tunnel = self.tunnel
        path, _, query = request.target.decode().partition("?")
        query = {key: values[0] for key, values in parse_qs(query).items()}
        what = path.rsplit("/", 1)[1]
        if what == "stats":
            stats = {name: getattr(tunnel.stats, name) for name in tunnel.stats.__slots__}
            answer(request, 200, stats | {"requests_open": tunnel.requests_open, "noted": len(self.noted)})
        elif what == "app-connections":
            answer(request, 200, sum(way.pool._size for way in tunnel._ways.values()))
        elif what == "close":
            code, reason = int(query["code"]), query.get("reason", "")
            answer(request, 200, tunnel.close_where(lambda caller: caller.user == query["user"], code, reason))
        elif what == "drop":
            tunnel.drop_route(query["prefix"])
            answer(request, 200, None)
        elif what == "drain":
            await tunnel.drain(float(query["deadline"]))
            answer(request, 200, None)


class GivenPass:
    """The passes that a store would have: one, in a file that the test may replace. Each request for one is noted.

    A request for another one instead is answered with the same one, as of now.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.asked = self.path.with_suffix(".asked")

    async def ask(self, request):
        with self.asked.open("a") as file:
            file.write(f"{request.user} {request.server} {request.attempt} {request.gateway_id}\n")
        made = await self.find(request.attempt, request.gateway_id)
        if made.issued == request.instead:
            import msgspec

            self.path.write_bytes(msgspec.json.encode(msgspec.structs.replace(made, issued=time.time())))

    async def find(self, _attempt, _gateway_id):
        import msgspec

        from state.records.ssh import SshPass

        return msgspec.json.decode(self.path.read_bytes(), type=SshPass)


def ssh_way_in(*, certificate, **options):
    from gateway.ways_in.ssh.way_in import SshWayIn

    return SshWayIn(GivenPass(options.pop("pass")), Path(certificate), **options)


async def current_server(user, name):
    """The record of every server: its current attempt is that of all tests."""
    from hashlib import sha256

    from state.records.models import Server, Status, Target

    return Server(
        user=user,
        name=name,
        attempt=NODE.partition(".")[0],
        status=Status.READY,
        target=Target.READY,
        profile="",
        cluster="",
        requested=0.0,
        report_hash=sha256(b"the-token-of-a-report").hexdigest(),
    )


class GivenHolders:
    """The workers of which a store would know that they hold connections."""

    def __init__(self):
        self.known = {}
        self.away = False

    def _check(self):
        from state.errors import StateUnavailableError

        if self.away:
            raise StateUnavailableError("The state store does not answer.")

    async def hold(self, attempts, holder, *, until, now):
        self._check()
        for attempt in attempts:
            self.known.setdefault(attempt, {})[holder] = until

    async def release(self, attempts, holder):
        for attempt in attempts:
            self.known.get(attempt, {}).pop(holder, None)

    async def find(self, attempt, *, now):
        self._check()
        return list(self.known.get(attempt, {}))


async def reverse_way_in(*, identity, port, peers=False):
    """The way in of requests, and the handler of dials. `peers`: those wait in another worker, in this process."""
    from gateway.door.reverse_dials import ReverseDials
    from gateway.ways_in.identity import GatewayIdentity
    from gateway.ways_in.reverse.peers import PeerNetwork
    from gateway.ways_in.reverse.waiting import WaitingStreams
    from gateway.ways_in.reverse.way_in import ReverseWayIn

    ours = GatewayIdentity(Path(identity))
    holders, ways = GivenHolders(), []
    for number in range(2 if peers else 1):
        waiting = WaitingStreams()
        network = None
        if peers:
            network = PeerNetwork(waiting, holders, ours, socket=Path(identity) / f"{port}-{number}.peer")
            await network.start(Path(identity))
        ways.append(ReverseWayIn(ours, waiting, network))
    dials = ReverseDials(base_path="/", find=current_server, allows=lambda _: True, way_in=ways[0])
    return ways, dials


def answer(request, status, value):
    request.respond(status, [(b"content-type", b"application/json")], json.dumps(value).encode())


def refuse(request, error):
    answer(request, error.status, {"kind": error.kind, "message": str(error)})


async def _serve(plan):
    from gateway.wire import ConnectionLimits, Server

    reverse = plan["options"].pop("reverse", None)
    if reverse is not None:
        reverse = await reverse_way_in(**reverse)
    gate = Gate(plan, reverse)
    server = Server(gate, limits=ConnectionLimits(**gate.limits))
    await server.listen(plan["address"], plan["port"])
    for route in gate.routes.values():
        if gate.warm and route.endpoint.kind == "ssh-socket":
            way_in = gate.tunnel.options.ways_in["ssh-socket"]
            made = await way_in._passes.get(route.endpoint)
            await way_in._line(made).link(made)
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    print("ready", flush=True)
    await ending.wait()
    server.close()
    for way_in in [] if reverse is None else reverse[0]:
        await way_in.close()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve(json.loads(sys.argv[1])))
