"""The cost of a client's input is linear in its size, for any segmentation: no loop is quadratic."""

import asyncio
import contextlib
from ipaddress import ip_network
from types import SimpleNamespace

import pytest

from gateway.auth.cookies import CookieJar
from gateway.auth.credentials import Brought
from gateway.auth.ldap import dn
from gateway.door import paths, revocation
from gateway.door.client_address import client_address
from gateway.tunnel import TunnelOptions, cookies, frames, headers
from gateway.tunnel.answers import read_head
from gateway.tunnel.errors import UpstreamError
from gateway.tunnel.head_cache import HeadCache
from gateway.tunnel.pool import Pool, PooledConnection, Share
from gateway.tunnel.upstream import Connection
from gateway.wire import ConnectionLimits, Server, heads
from gateway.wire.chunks import Chunks
from gateway.wire.client import Client
from state.records.models import Endpoint
from tests.gateway.growth import assert_linear

HUGE = 2**40


class Transport:
    """Accepts all data immediately."""

    def __init__(self):
        self.sent = 0
        self.closed = False

    def write(self, data):
        self.sent += len(data)

    def writelines(self, parts):
        self.sent += sum(map(len, parts))

    def close(self):
        self.closed = True

    abort = write_eof = close

    def is_closing(self):
        return self.closed

    def can_write_eof(self):
        return True

    def get_extra_info(self, name):
        return ("127.0.0.1", 1) if name == "peername" else None

    def set_write_buffer_limits(self, _):
        pass

    pause_reading = resume_reading = lambda self: None


class Answering:
    """Responds to each request immediately."""

    def __init__(self):
        self.requests = 0

    def handle(self, request):
        self.requests += 1
        request.respond(204, ())


def client_that_receives(pieces, *, requests=0, refused=False, **limits):
    """Return a function that passes the pieces to a client connection of a new server."""
    pieces = list(pieces)

    async def main():
        handler = Answering()
        client = Client(Server(handler, limits=ConnectionLimits(**limits)).context)
        transport = Transport()
        client.connection_made(transport)
        for piece in pieces:
            client.data_received(piece)
        while handler.requests < requests:
            await asyncio.sleep(0)
        assert handler.requests == requests
        assert transport.closed is refused

    return lambda: asyncio.run(main())


def cut(data, step):
    return [data[at : at + step] for at in range(0, len(data), step)]


def test_empty_lines_in_front_of_a_request_are_counted_and_bounded():
    assert_linear(lambda size: client_that_receives([b"\r\n" * size], refused=True), 2**14)


def test_empty_lines_cost_no_more_where_many_are_allowed():
    assert_linear(lambda size: client_that_receives([b"\r\n" * size], empty_lines=HUGE), 2**14)


def test_a_head_in_small_pieces():
    def work(size):
        raw = b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * size + b"\r\n\r\n"
        return client_that_receives(cut(raw, 16), requests=1, head=HUGE)

    assert_linear(work, 2**16)


def test_requests_in_a_row():
    request = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
    assert_linear(lambda size: client_that_receives([request * size], requests=size, head=HUGE), 2**11)


def test_requests_in_a_row_that_come_in_small_pieces_while_one_is_under_way():
    async def main(size):
        held = []
        handler = SimpleNamespace(handle=held.append)
        client = Client(Server(handler, limits=ConnectionLimits(head=HUGE)).context)
        client.connection_made(Transport())
        for piece in cut(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" + b"x" * size, 16):
            client.data_received(piece)
        assert len(held) == 1

    assert_linear(lambda size: lambda: asyncio.run(main(size)), 2**17)


@pytest.mark.parametrize(
    "make",
    [
        lambda size: cut(b"%x\r\n" % size + b"x" * size + b"\r\n", 16),
        lambda size: [b"1\r\nx\r\n" * size],
        lambda size: cut(b"1;" + b"e" * 4000 + b"\r\nx\r\n", 1) * (size // 2**12),
        lambda size: [b"0\r\n"] + [b"x: " + b"y" * 90 + b"\r\n"] * (size // 2**10),
    ],
    ids=["one large chunk", "many chunks", "long lines byte by byte", "trailers"],
)
def test_a_body_in_chunks(make):
    def work(size):
        pieces = make(size)

        def run():
            chunks = Chunks()
            for piece in pieces:
                chunks.feed(piece)

        return run

    assert_linear(work, 2**14)


def app_that_sends(pieces, *, status=0, **options):
    """Return a function that passes these pieces to an app's connection as the response to a request."""
    pieces = list(pieces)

    async def main():
        told = []
        exchange = SimpleNamespace(
            moved=0,
            head=lambda head, _body: told.append(head.status),
            complete=lambda head, _body: told.append(head.status),
            failed=lambda error: told.append(error.kind),
            content=lambda _data: None,
        )
        hidden = cookies.Hidden([b"towpath-session"])
        rules = lambda fields: headers.response_head(fields, b"/user/a/", hidden)  # noqa: E731
        connection = Connection(TunnelOptions(**options), {}, HeadCache(rules).read)
        connection.connection_made(Transport())
        connection.begin(exchange, b"", bodiless=False)
        for piece in pieces:
            connection.data_received(piece)
            if told:
                break
        assert told == ([status] if status else [])

    return lambda: asyncio.run(main())


def test_the_head_of_an_answer_in_small_pieces():
    def work(size):
        raw = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: " + b"x" * size + b"\r\n\r\n"
        return app_that_sends(cut(raw, 16), status=200, head_limit=HUGE)

    assert_linear(work, 2**16)


def test_informational_answers_in_one_piece():
    raw = b"HTTP/1.1 102 Processing\r\n\r\n"
    final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    assert_linear(lambda size: app_that_sends([raw * size + final], status=200, head_limit=HUGE), 2**12)


def test_informational_answers_end_the_request_when_there_is_no_end_of_them():
    app_that_sends([b"HTTP/1.1 102 Processing\r\n\r\n"] * 10_000, status="bad-response")()
    app_that_sends([b"HTTP/1.1 102 Processing\r\n\r\n" * 10_000], status="bad-response")()


def test_idle_connections_that_end_all_at_once():
    async def main(size):
        options = TunnelOptions(idle_timeout=-1)
        pool = Pool(Endpoint(kind="unix", path="/nowhere"), rules_of_an_app, options, size=HUGE)
        heads = HeadCache(rules_of_an_app)
        connections = [PooledConnection(options, heads, Share()) for _ in range(size)]
        for connection in connections:
            connection.connection_made(Transport())
            pool.release(connection)
        pool.sweep(asyncio.get_running_loop().time())
        for connection in connections:
            assert connection.transport.closed
            connection.connection_lost(None)
        assert pool.take("a", retryable=True) is None

    assert_linear(lambda size: lambda: asyncio.run(main(size)), 2**10)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("opcode", [frames.PING, frames.PONG, frames.TEXT])
@pytest.mark.parametrize("step", [1, 2**30])
def test_websocket_frames(masked, opcode, step):
    def work(size):
        pieces = cut(frames.control(opcode, b"x" * 20, masked=masked) * size, step)

        def run():
            tracker = frames.Tracker(masked=masked, limit=HUGE, mark=b"12345678")
            for piece in pieces:
                tracker.feed(piece)
            assert tracker.fault is None

        return run

    assert_linear(work, 2**9)


HIDDEN = cookies.Hidden([b"towpath-session", b"towpath-sign-in"])
JAR = CookieJar(secure=True, base_path="/")


def rules_of_an_app(fields):
    return headers.response_head(fields, b"/user/a/", HIDDEN)


def set_cookie(value):
    return cookies.confine(value, b"/user/a/", HIDDEN)


def address_of(value):
    return client_address("10.0.0.1", [(b"x-forwarded-for", value)], (ip_network("10.0.0.0/8"),))


def request_with(lines):
    return heads.read(b"GET / HTTP/1.1\r\nHost: h\r\n" + lines + b"\r\n", most_fields=HUGE)


def answer_with(lines):
    return read_head(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n", rules_of_an_app)


def read(raw):
    return heads.read(raw, most_fields=HUGE)


PARSERS = {
    "a cookie's name with many prefixes": (set_cookie, b"", b"__host-", b"x=1"),
    "a Set-Cookie of many attributes": (set_cookie, b"a=1", b";path=/", b""),
    "spaces in a Cookie header": (HIDDEN.cut, b";", b' "=', b"towpath-sessio"),
    "separators in a Cookie header": (HIDDEN.cut, b"", b"; ", b""),
    "prefixes in a Cookie header": (HIDDEN.cut, b"", b"__host-", b""),
    "the hub's cookie many times": (HIDDEN.cut, b"", b"towpath-session=1;", b""),
    "a ticket among many cookies": (lambda value: JAR.ticket([value]), b"", b"a=1;", b"__Host-towpath-session=x"),
    "a path of dots": (paths.check, b"/", b"...", b""),
    "a path of semicolons": (paths.check, b"/a", b";.%3b", b""),
    "a path of encoded slashes": (paths.check, b"/", b"%2fa", b""),
    "an encoded name in a path": (lambda path: paths.user_path(path, b"/user/"), b"/user/", b"%61", b""),
    "a chain of proxies": (address_of, b"", b"10.0.0.1,", b""),
    "a request line that is none": (read, b"GET", b" HTTP/1", b"\r\n\r\n"),
    "a Connection header of many names": (request_with, b"Connection: ", b"a,", b"\r\n"),
    "many fields": (request_with, b"", b"X: y\r\n", b""),
    "many fields of an answer": (answer_with, b"", b"Set-Cookie: a=1\r\n", b""),
    "spaces in a distinguished name": (dn.parts, "cn=a", " ", "b"),
    "backslashes in a distinguished name": (dn.parts, "cn=", "\\", ""),
    "commas in a distinguished name": (dn.parts, "", "a=b\\,,", ""),
}


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser(name):
    parse, begin, repeated, end = PARSERS[name]

    def work(size):
        data = begin + repeated * (size // len(repeated)) + end

        def run():
            with contextlib.suppress(paths.BadPathError, heads.BadHeadError, UpstreamError):
                parse(data)

        return run

    assert_linear(work, 2**14)


def test_fields_that_repeat():
    assert_linear(lambda size: lambda: Brought([(b"cookie", b"a=1"), (b"x", b"y")] * size), 2**10)


def test_a_changed_group_checks_each_open_connection_once():
    """Counts steps: each open connection is examined a fixed number of times."""
    count = 2000
    callers = [SimpleNamespace(user=f"u{number}", digest=f"d{number}") for number in range(count)]
    looked = 0

    def end_where(predicate, _code, _reason):
        nonlocal looked
        looked += count
        return sum(predicate(caller, SimpleNamespace(user="x", name=""), True) for caller in callers)

    tunnel = SimpleNamespace(
        end_where=end_where,
        close_where=lambda predicate, code, reason: end_where(lambda caller, _r, _w: predicate(caller), code, reason),
    )

    async def identify(digest):
        return SimpleNamespace(digest=digest, session=None, access=frozenset(), is_user=lambda _name: False)

    async def main():
        mirror = SimpleNamespace(identify_session=identify, identify_token=identify)
        ends = revocation.Revocation(mirror, tunnel)
        for number in range(50):
            ends(frozenset({f"d{number}"}), "group:course")
        await asyncio.sleep(0)
        while ends._tasks:
            await asyncio.sleep(0)

    asyncio.run(main())
    assert looked <= 4 * count
