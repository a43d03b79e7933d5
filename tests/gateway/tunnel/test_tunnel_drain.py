"""A worker that ends: what may finish, what is cut at once, what is cut at the deadline."""

import asyncio

from gateway.tunnel import Caller, Tunnel, TunnelOptions
from gateway.tunnel.headers import ResponseHead
from gateway.wire import Server
from state.records.models import Endpoint, Route
from tests.gateway.tunnel_harness import Upstream, read_request
from tests.ports import free_port

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b"9\r\ndata: x\n\n\r\n"


async def events(reader, writer):
    await read_request(reader)
    writer.write(HEAD + EVENT)
    await reader.read()


class Door:
    """`/user/a/` is an app, all else is what the portal would be."""

    def __init__(self, upstream):
        self.tunnel = Tunnel(TunnelOptions())
        _, port = upstream.endpoint
        endpoint = Endpoint(kind="tcp", host="127.0.0.1", port=port)
        self.route = Route(prefix="/user/a/", user="a", name="", attempt="0" * 32, endpoint=endpoint, credential="")
        self.way = self.tunnel.way_to(endpoint, lambda _fields: ResponseHead([(b"content-type", b"text/event-stream")], -1), name="portal")  # fmt: skip

    def handle(self, request):
        def refuse(request, error):
            request.respond(error.status, [], b"")

        if request.path.startswith(b"/user/a/"):
            caller = Caller(user="a", digest="d", by_cookie=True)
            self.tunnel.http(request, self.route, caller=caller, refuse=refuse)
        else:
            block = b"GET /hub/ HTTP/1.1\r\nHost: h\r\n"
            self.tunnel.carry(request, self.way, block, source="a", refuse=refuse, when_over=lambda: None)


def served(check):
    async def main():
        async with Upstream(events) as upstream:
            door = Door(upstream)
            server = Server(door)
            port = free_port()
            await server.listen("127.0.0.1", port)
            try:
                await check(door, server, port)
            finally:
                server.close()
                await door.tunnel.drain(0)
                await asyncio.sleep(0.05)

    asyncio.run(main())


async def stream(port, path):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: h\r\n\r\n")
    async with asyncio.timeout(60):
        await reader.readuntil(b"data: x\n\n\r\n")
    return reader, writer


def test_the_portals_event_streams_end_at_once_and_an_apps_may_go_on_until_the_deadline():
    async def check(door, server, port):
        of_app, app_writer = await stream(port, b"/user/a/events")
        of_portal, portal_writer = await stream(port, b"/hub/events")
        idle, idle_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.1)
        server.stop_accepting()
        draining = asyncio.create_task(door.tunnel.drain(3600))
        async with asyncio.timeout(60):
            assert b"0\r\n\r\n" not in await of_portal.read()
            assert await idle.read() == b""
        assert not draining.done()
        assert door.tunnel.requests_open == 1
        app_writer.close()
        async with asyncio.timeout(60):
            await draining
        for writer in (portal_writer, idle_writer):
            writer.close()
        del of_app

    served(check)


def test_a_response_that_is_unfinished_at_the_deadline_is_cut_and_looks_truncated():
    async def check(door, server, port):
        reader, writer = await stream(port, b"/user/a/events")
        server.stop_accepting()
        await door.tunnel.drain(0.1)
        async with asyncio.timeout(60):
            assert b"0\r\n\r\n" not in await reader.read()
        assert door.tunnel.requests_open == 0
        writer.close()

    served(check)
