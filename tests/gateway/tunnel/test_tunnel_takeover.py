"""What decision 0002 relies on: Granian leaves an accepted socket alone, and the right descriptor is found."""

import asyncio
import socket
import subprocess
import sys

import granian
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from gateway.tunnel import takeover
from tests.gateway.tunnel_harness import ROOT, Worker, free_port

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)

LATE = """
import asyncio, sys
from granian.server.embed import Server
from gateway.tunnel import takeover

async def app(scope, receive, send):
    if scope["type"] != "websocket":
        return
    await send({"type": "websocket.accept"})
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    sock = takeover.take(scope)
    loop = asyncio.get_running_loop()
    got = b""
    while len(got) < 300000:
        got += await loop.sock_recv(sock, 65536)
    await loop.sock_sendall(sock, b"%d" % len(got.strip(b"x")))
    sock.shutdown(2)
    sock.close()

asyncio.run(Server(app, address="127.0.0.1", port=int(sys.argv[1]), interface="asginl", log_enabled=False).serve())
"""


def test_the_version_is_one_whose_source_was_read():
    assert granian.__version__.startswith("2.8."), "read src/ws.rs and src/asgi/io.rs anew: see docs/decisions/0002"


def test_granian_reads_nothing_from_an_accepted_websocket_that_nobody_receives_from():
    """The client sends at once; the socket is taken long after: every byte must still be there."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", LATE, str(port)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
    )

    async def main():
        async with asyncio.timeout(30):
            while True:
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    break
                except OSError:
                    await asyncio.sleep(0.05)
            writer.write(HANDSHAKE)
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"x" * 300000)
            await asyncio.sleep(1)
            process.stdin.write("\n")
            process.stdin.flush()
            assert await reader.read() == b"0"
            writer.close()

    try:
        asyncio.run(main())
    finally:
        process.kill()
        process.wait()
        process.stdin.close()


@pytest.mark.parametrize(
    ("address", "host"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.3"), ("::1", "::1"), ("::", "::1"), ("::", "127.0.0.1")],
)
def test_the_socket_is_found_wherever_the_worker_listens(address, host):
    if ":" in address + host:
        probe = socket.socket(socket.AF_INET6)
        try:
            probe.bind(("::1", 0))
        except OSError:
            return  # a machine without IPv6 has nothing to find
        finally:
            probe.close()

    async def echo(websocket):
        async for message in websocket:
            await websocket.send(message)

    async def main():
        async with serve(echo, "127.0.0.1", 0) as server:
            app = server.sockets[0].getsockname()[1]
            with Worker({"/user/a/": ("tcp", app)}, address=address, host=host) as worker:
                async with connect(f"ws://{worker.origin}/user/a/") as websocket:
                    await websocket.send("found")
                    assert await websocket.recv() == "found"

    asyncio.run(main())


def scope_of(sock):
    peer, own = sock.getpeername(), sock.getsockname()
    return {"client": (peer[0], str(peer[1])), "server": (own[0], str(own[1])), "http_version": "1.1"}


def test_a_duplicate_is_the_connection_itself_and_cutting_ends_it_for_the_peer():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        with accepted:
            with takeover.take(scope_of(accepted)) as twin:
                twin.send(b"hello")
            assert client.recv(5) == b"hello"
            takeover.cut(scope_of(accepted))
            assert client.recv(5) == b""


def test_none_and_two_are_both_refused():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        with accepted:
            scope = scope_of(accepted)
            with accepted.dup(), pytest.raises(takeover.TakeoverError, match="2 descriptors"):
                takeover.take(scope)
            scope["client"] = ("127.0.0.1", "1")
            with pytest.raises(takeover.TakeoverError, match="0 descriptors"):
                takeover.take(scope)
        assert client.fileno() > 0
