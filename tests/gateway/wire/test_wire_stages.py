"""The stages of a client connection, against their table: whatever happens, only listed transitions occur."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.wire import ConnectionLimits, Server
from gateway.wire.client import Client
from gateway.wire.stages import TIME_LIMIT, TRANSITIONS, Stage

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"

EVENTS = {
    "get": lambda rig: rig.receive(GET),
    "twice": lambda rig: rig.receive(GET + GET),
    "once and a half": lambda rig: rig.receive(GET + GET[:9]),
    "last": lambda rig: rig.receive(GET.replace(b"Host", b"Connection: close\r\nHost")),
    "post": lambda rig: rig.receive(POST),
    "post with body": lambda rig: rig.receive(POST + b"abc"),
    "chunked": lambda rig: rig.receive(CHUNKED + b"1\r\na\r\n"),
    "end of chunks": lambda rig: rig.receive(b"0\r\n\r\n"),
    "some": lambda rig: rig.receive(b"ab"),
    "empty line": lambda rig: rig.receive(b"\r\n"),
    "much": lambda rig: rig.receive(b"x" * 300),
    "nonsense": lambda rig: rig.receive(b"\x00\r\n\r\n"),
    "respond": lambda rig: rig.respond(),
    "read body": lambda rig: rig.on_open(rig.client.read_body),
    "pause body": lambda rig: rig.on_open(rig.client.pause_body),
    "resume body": lambda rig: rig.on_open(rig.client.resume_body),
    "truncate": lambda rig: rig.on_open(rig.client.close_truncated),
    "abort": lambda rig: rig.client.abort(),
    "detach": lambda rig: rig.on_open(rig.client.detach),
    "client slow": lambda rig: rig.slow(),
    "client reads": lambda rig: rig.reads(),
    "end of stream": lambda rig: rig.end_of_stream(),
    "time": lambda rig: rig.pass_time(1000.0),
    "a moment": lambda rig: rig.pass_time(0.1),
    "drain": lambda rig: rig.server.stop_accepting(),
}


class Transport:
    """A transport as asyncio has it: what is closed tells so later."""

    def __init__(self, rig):
        self.rig = rig
        self.closing = False
        self.sent = b""

    def write(self, data):
        self.sent += data

    def close(self):
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self.rig.lose)

    abort = close

    def is_closing(self):
        return self.closing

    def can_write_eof(self):
        return True

    def get_extra_info(self, name):
        return ("127.0.0.1", 1) if name == "peername" else None

    def get_write_buffer_size(self):
        return 0

    def set_write_buffer_limits(self, _):
        pass

    write_eof = pause_reading = resume_reading = lambda self: None


class Watched(Client):
    """Notes each stage that it enters."""

    __slots__ = ("seen",)

    def __setattr__(self, name, value):
        if name == "stage":
            before = getattr(self, "stage", None)
            if before is not None and before is not value:
                self.seen.append((before, value))
            elif before is None:
                super().__setattr__("seen", [])
        super().__setattr__(name, value)


class Rig:
    """One connection, its handler and its sink."""

    def __init__(self):
        self.server = Server(self, limits=ConnectionLimits(head=200))
        self.client = Watched(self.server.context)
        self.transport = Transport(self)
        self.paused = False
        self.told_gone = 0
        self.requests = 0
        self.client.connection_made(self.transport)

    def handle(self, request):
        self.requests += 1
        request.client.attach(self)

    def body_received(self, data):
        assert self.client.request is not None

    def body_complete(self):
        assert self.client.request is not None

    def client_gone(self):
        self.told_gone += 1

    client_paused = client_resumed = lambda self: None

    def receive(self, data):
        if not self.transport.closing:
            self.client.data_received(data)

    def on_open(self, act):
        if self.client.request is not None and not self.transport.closing:
            act()

    def respond(self):
        self.on_open(lambda: self.client.request.respond(200, (), b"ok"))

    def slow(self):
        if not self.paused and not self.transport.closing:
            self.paused = True
            self.client.pause_writing()

    def reads(self):
        if self.paused and not self.transport.closing:
            self.paused = False
            self.client.resume_writing()

    def end_of_stream(self):
        if not self.transport.closing and self.client.stage is not Stage.CLOSED:
            self.client.eof_received()
            self.transport.close()

    def lose(self):
        if self.client.stage is not Stage.CLOSED or self.client in self.server.context.connections:
            self.client.connection_lost(None)

    def pass_time(self, seconds):
        self.server.context.check(self.server.context.now() + seconds)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(sorted(EVENTS)), max_size=25))
def test_only_listed_transitions_occur(names):
    async def main():
        rig = Rig()
        for name in names:
            EVENTS[name](rig)
            await asyncio.sleep(0)
            check(rig)
        await asyncio.sleep(0)
        rig.server.close()
        await asyncio.sleep(0)
        assert not rig.server.context.connections
        for before, after in rig.client.seen:
            assert after in TRANSITIONS[before], (before, after)
        assert rig.told_gone <= rig.requests

    asyncio.run(main())


def check(rig):
    """What each stage means."""
    client = rig.client
    assert (client.request is not None) == (client.stage in {Stage.REQUEST, Stage.BODY}) or rig.transport.closing
    if client.stage in {Stage.NEW, Stage.IDLE}:
        assert not client._buffer
    if client.stage is Stage.CLOSED:
        assert client not in rig.server.context.connections


def test_every_stage_has_its_row_and_every_wait_for_the_client_a_limit():
    assert set(TRANSITIONS) == set(Stage)
    assert set(TIME_LIMIT) == set(Stage) - {Stage.REQUEST, Stage.CLOSED}
    limits = ConnectionLimits()
    assert all(limit(limits) > 0 for limit in TIME_LIMIT.values())
