"""Gateways in one event loop that jobs connect to, and streams to apps through them."""

import asyncio
import contextlib
import ssl
from pathlib import Path

from gateway.door.reverse_dials import ReverseDials
from gateway.ways_in.identity import GatewayIdentity
from gateway.ways_in.reverse.peers import PeerNetwork
from gateway.ways_in.reverse.waiting import WaitingStreams
from gateway.ways_in.reverse.way_in import ReverseWayIn
from gateway.wire import Server
from state.records.models import Endpoint
from tests.gateway.tunnel_harness import current_server
from tests.gateway.ways_in import NAME

ENDPOINT = Endpoint(kind="reverse", name=NAME)


class OneGateway:
    """A worker of a gateway. `holders`: the store; without it, the worker is alone."""

    def __init__(self, data_dir: Path, name: str, *, holders=None, host="") -> None:
        self.certificates = data_dir / "tls"
        self.socket = data_dir / f"{name}.peer"
        identity = GatewayIdentity(self.certificates)
        self.waiting = WaitingStreams()
        self.peers = None
        if holders is not None:
            self.peers = PeerNetwork(self.waiting, holders, identity, socket=self.socket, host=host)
        self.way_in = ReverseWayIn(identity, self.waiting, self.peers)
        self.dials = ReverseDials(base_path="/", find=current_server, allows=lambda _: True, way_in=self.way_in)
        self.server: Server | None = None
        self.streams: list[Collector] = []

    async def start(self, port=0, *, tls=False) -> "OneGateway":
        """`port`: where jobs connect; 0: nowhere."""
        if self.peers is not None:
            await self.peers.start(self.certificates)
        if port:
            context = None
            if tls:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(self.certificates / "reports.pem")
            self.server = Server(self.dials, tls=context)
            await self.server.listen("127.0.0.1", port)
        return self

    async def close(self) -> None:
        for stream in self.streams:
            stream.transport.abort()
        if self.server is not None:
            self.server.close()
        await self.way_in.close()
        await asyncio.sleep(0.05)  # the transports have closed

    async def open(self) -> "Collector":
        """A stream to the app."""
        async with asyncio.timeout(60):
            stream = await self.way_in.open(ENDPOINT, Collector)
        self.streams.append(stream)
        return stream


class Collector(asyncio.Protocol):
    """The user of a stream."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended = False
        self.lost = asyncio.get_running_loop().create_future()
        self.transport = None

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data) -> None:
        self.data += data

    def eof_received(self) -> None:
        self.ended = True

    def connection_lost(self, exc) -> None:
        self.lost.set_result(exc)


@contextlib.asynccontextmanager
async def serving(path, script):
    """An app on a unix socket: `script(reader, writer)` for each connection."""

    async def serve(reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await script(reader, writer)
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    try:
        yield server
    finally:
        server.close()
        await asyncio.sleep(0.05)
