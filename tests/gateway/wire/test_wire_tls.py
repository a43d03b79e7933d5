"""A listener with TLS that answers one thing only."""

import asyncio
import contextlib
import ssl
from pathlib import Path

import pytest

from gateway.wire import Server
from tests.gateway.tunnel_harness import parse
from tests.ports import free_port

PEM = str(Path(__file__).parents[2] / "contracts/loopback.pem")
ONLY = (b"POST", b"/hub/api/towpath/report")


class Collecting:
    """Takes every request's body in, and answers."""

    def __init__(self):
        self.seen = []
        self.got = b""

    def handle(self, request):
        self.seen.append((request.method, request.target))
        self.request = request
        if request.head.websocket:
            self.body_complete()
            return
        request.client.attach(self)
        request.client.read_body()

    def body_received(self, data):
        self.got += data

    def body_complete(self):
        self.request.respond(200, [(b"content-type", b"application/json")], b"{}")

    def client_gone(self):
        pass


@pytest.fixture
def contexts():
    """(the server's, the client's) with a certificate for loopback that nothing else uses."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(PEM)
    return server, ssl.create_default_context(cafile=PEM)


def served(contexts, check, **more):
    async def main():
        handler = Collecting()
        server = Server(handler, tls=contexts[0], only=ONLY, **more)
        port = free_port()
        await server.listen("127.0.0.1", port)

        async def ask(data):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=contexts[1])
            writer.write(data)
            async with asyncio.timeout(60):
                raw = await reader.read()
            writer.close()
            return raw

        try:
            await check(handler, ask, port)
        finally:
            server.close()
            await asyncio.sleep(0.05)

    asyncio.run(main())


def test_a_report_is_taken_over_tls(contexts):
    async def check(handler, ask, port):
        body = b'{"kind": "ready"}'
        head = b"POST /hub/api/towpath/report HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        assert parse(await ask(head % len(body) + body))[::2] == (200, b"{}")
        assert handler.got == body

    served(contexts, check)


@pytest.mark.parametrize(
    "line",
    [
        b"GET /hub/api/towpath/report",
        b"POST /hub/api/towpath/report/",
        b"POST /hub/api/towpath/report?x=1",
        b"POST /hub/api/users",
        b"POST /hub/api/towpath/../towpath/report",
        b"GET /user/a/",
        b"GET /hub/login",
    ],
)
def test_nothing_else_is_answered_there(contexts, line):
    async def check(handler, ask, port):
        raw = await ask(line + b" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        assert parse(raw)[0] == 404
        assert handler.seen == []

    served(contexts, check)


@pytest.mark.parametrize(
    ("target", "websocket", "status"),
    [
        ("/reverse", True, 200),
        ("/reverse", False, 404),
        ("/reverse/", True, 404),
        ("/hub/api/towpath/report", True, 404),
    ],
)
def test_websockets_are_answered_at_one_path_alone(contexts, target, websocket, status):
    async def check(handler, ask, port):
        fields = "Connection: Upgrade\r\nUpgrade: websocket\r\n" if websocket else "Connection: close\r\n"
        raw = await ask(f"GET {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n".encode())
        assert parse(raw)[0] == status

    served(contexts, check, upgrades=b"/reverse")


def test_bytes_that_are_not_tls_are_not_answered(contexts):
    async def check(handler, ask, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /hub/api/towpath/report HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
        async with asyncio.timeout(60):
            with contextlib.suppress(ConnectionResetError):
                assert b"HTTP" not in await reader.read()
        assert handler.seen == []
        writer.close()

    served(contexts, check)
