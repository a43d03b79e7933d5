"""A client's connection, tried with raw sockets on a real worker: order, limits, time-outs, ends."""

import asyncio
import contextlib
import re
import socket

import pytest

from tests.gateway.tunnel_harness import Upstream, Worker, answers, parse, read_request, until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET = b"GET /user/a/ HTTP/1.1\r\nHost: h\r\n\r\n"


def through(script, check, **options):
    async def main():
        async with Upstream(script) as upstream:
            with Worker({"/user/a/": upstream.endpoint}, **options) as worker:
                await check(worker, upstream)

    asyncio.run(main())


async def echo_target(reader, writer):
    """Answers with the target and a field of the request."""
    while True:
        head, body = await read_request(reader)
        mark = re.search(rb"\r\nx-mark: ([^\r]*)", head)
        text = head.split(b" ")[1] + b" " + (mark[1] if mark else b"-") + b" " + body
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)


async def answer(reader):
    """(status, fields, body) of the next response, counted."""
    head = await reader.readuntil(b"\r\n\r\n")
    status, fields, _ = parse(head)
    return status, fields, await reader.readexactly(int(fields.get("content-length", ["0"])[0]))


# --- order and framing ----------------------------------------------------------------------------------------


def test_heads_that_repeat_and_heads_that_differ_each_get_their_own_answer():
    """The memory of heads must never answer with another's fields."""

    async def check(worker, upstream):
        reader, writer = await worker.connect()
        for turn in range(60):
            mark = b"%d" % (turn % 7 % 5)
            writer.write(b"GET /user/a/%d HTTP/1.1\r\nHost: h\r\nX-Mark: %b\r\n\r\n" % (turn, mark))
            assert (await answer(reader))[2] == b"/user/a/%d %b " % (turn, mark)
        writer.close()

    through(echo_target, check)


def test_an_absolute_target_does_not_leave_its_host_to_the_next_request():
    script = answers(OK)

    async def check(worker, upstream):
        reader, writer = await worker.connect()
        for target in (b"http://other/user/a/", b"/user/a/", b"/user/a/"):
            writer.write(b"GET " + target + b" HTTP/1.1\r\nHost: h\r\n\r\n")
            assert (await answer(reader))[0] == 200
        hosts = [re.search(rb"\r\nHost: ([^\r]*)", head)[1] for head, _ in script.seen]
        assert hosts == [b"other", b"h", b"h"]
        writer.close()

    through(script, check)


def test_pipelined_bodies_and_requests_are_separated_wherever_they_are_cut():
    row = b"".join(
        b"POST /user/a/%d HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc" % turn
        + b"POST /user/a/c%d HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n" % turn
        + b"GET /user/a/g%d HTTP/1.1\r\nHost: h\r\n\r\n" % turn
        for turn in range(3)
    )  # fmt: skip

    async def check(worker, upstream):
        for step in (1, 7, 64, len(row)):
            reader, writer = await worker.connect()
            for at in range(0, len(row), step):
                writer.write(row[at : at + step])
                if step < 64:
                    await asyncio.sleep(0)
            for turn in range(3):
                assert (await answer(reader))[2] == b"/user/a/%d - abc" % turn
                assert (await answer(reader))[2] == b"/user/a/c%d - def" % turn
                assert (await answer(reader))[2] == b"/user/a/g%d - " % turn
            writer.close()

    through(echo_target, check)


def test_a_row_of_requests_from_a_client_that_does_not_read_waits_in_the_kernel():
    body = b"x" * 100_000

    async def script(reader, writer):
        while True:
            await read_request(reader)
            script.count += 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()

    script.count = 0

    async def check(worker, upstream):
        reader, writer = await worker.connect()
        writer.transport.pause_reading()
        before = worker.rss()
        for _ in range(2000):
            writer.write(GET)
        last = -1
        async with asyncio.timeout(60):
            while script.count != last or last <= 0:
                last = script.count
                await asyncio.sleep(0.5)
        assert script.count < 300
        assert worker.rss() - before < 32 * 2**20
        writer.transport.abort()

    through(script, check)


def test_http_1_0_gets_a_body_that_ends_with_the_connection_and_no_chunks():
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"

    async def check(worker, upstream):
        raw = await worker.ask(b"GET /user/a/ HTTP/1.0\r\n\r\n")
        head, _, body = raw.partition(b"\r\n\r\n")
        assert body == b"abcdef"
        assert b"chunked" not in head
        assert b"connection: close" in head

    through(answers(chunked), check)


def test_a_connection_closes_after_the_answer_when_the_client_says_so():
    async def check(worker, upstream):
        raw = await worker.ask(GET.replace(b"Host", b"Connection: close\r\nHost") + GET)
        assert raw.count(b"HTTP/1.1 200") == 1
        assert b"connection: close" in raw

    through(answers(OK), check)


def test_every_answer_has_a_date_and_an_apps_own_stays():
    async def check(worker, upstream):
        _, fields, _ = await worker.get()
        assert len(fields["date"]) == 1
        _, fields, _ = await worker.get("/none")
        assert len(fields["date"]) == 1

    through(answers(OK), check)

    dated = OK.replace(b"Content", b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent")

    async def check_own(worker, upstream):
        assert (await worker.get())[1]["date"] == ["Sun, 06 Nov 1994 08:49:37 GMT"]

    through(answers(dated), check_own)


def test_line_breaks_before_a_request_are_skipped():
    async def check(worker, upstream):
        reader, writer = await worker.connect()
        for _ in range(3):
            writer.write(b"\r\n" + GET)
            assert (await answer(reader))[0] == 200
        writer.close()

    through(answers(OK), check)


# --- limits and time-outs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"y" * 100_000, 431),
        (b"GET / HTTP/1.1\r\nHost: h\r\n" + b"X: y\r\n" * 129 + b"\r\n", 431),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/1.1\nHost: h\n\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"\r\n" * 500_000, 400),
        (b"\r\n" * 9 + b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ],
)
def test_bytes_that_are_not_a_request_are_answered_and_the_connection_is_closed(data, status):
    async def check(worker, upstream):
        raw = await worker.ask(data)
        assert raw.startswith(b"HTTP/1.1 %d " % status)
        assert b"connection: close" in raw
        assert upstream.connections == 0

    through(answers(OK), check)


def test_a_head_that_comes_too_slowly_is_408_and_silence_is_closed():
    async def check(worker, upstream):
        reader, writer = await worker.connect()
        silent_reader, silent_writer = await worker.connect()
        begun = asyncio.get_running_loop().time()
        data = b""
        async with asyncio.timeout(60):
            while not reader.at_eof():
                writer.write(b"G")  # a byte now and then keeps nobody
                with contextlib.suppress(TimeoutError):
                    data += await asyncio.wait_for(reader.read(4096), 0.05)
            assert await silent_reader.read() == b""
        assert data.startswith(b"HTTP/1.1 408")
        assert asyncio.get_running_loop().time() - begun >= 0.5
        writer.close()
        silent_writer.close()

    through(answers(OK), check, limits={"head_time": 0.5})


def test_an_idle_connection_is_closed():
    async def check(worker, upstream):
        reader, writer = await worker.connect()
        for _ in range(3):
            writer.write(GET)
            assert (await answer(reader))[0] == 200
            await asyncio.sleep(0.1)
        async with asyncio.timeout(60):
            assert await reader.read() == b""
        writer.close()

    through(answers(OK), check, limits={"idle_time": 2.0})


def test_a_small_body_that_does_not_come_ends_the_connection():
    async def check(worker, upstream):
        reader, writer = await worker.connect()
        writer.write(b"POST /user/a/ HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc")
        async with asyncio.timeout(60):
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await reader.readexactly(1)
        assert upstream.connections == 0
        writer.close()

    through(answers(OK), check, limits={"body_time": 0.5})


def test_a_client_that_still_sends_hears_the_answer_that_refuses_it():
    async def check(worker, upstream):
        reader, writer = await worker.connect()
        writer.write(b"POST /none HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n")
        for _ in range(30):
            writer.write(b"x" * 100_000)
        async with asyncio.timeout(60):
            raw = await reader.read()
        assert raw.startswith(b"HTTP/1.1 404")
        writer.close()

    through(answers(OK), check)


def test_a_chunk_that_is_not_valid_cuts_both_sides():
    async def script(reader, writer):
        script.raw.append(await reader.read())

    script.raw = []

    async def check(worker, upstream):
        head = b"POST /user/a/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        for bad in (b"5\r\nhelloX\r\n", b"5\nhello\r\n", b"-1\r\n"):
            reader, writer = await worker.connect()
            writer.write(head + b"2\r\nok\r\n" + bad + b"0\r\n\r\n")
            async with asyncio.timeout(60):
                with contextlib.suppress(ConnectionResetError):
                    assert b" 200 " not in await reader.read()
            writer.close()
        await until(lambda: len(script.raw) == 3)
        assert not any(raw.endswith(b"0\r\n\r\n") for raw in script.raw)

    through(script, check)


def test_nothing_is_kept_of_many_connections():
    async def check(worker, upstream):
        await worker.get("/none")
        base = worker.descriptors()
        for _ in range(5):
            connections = [await worker.connect() for _ in range(40)]
            for number, (_, writer) in enumerate(connections):
                writer.write(GET[: number % len(GET)])
            await asyncio.sleep(0.05)
            for _, writer in connections:
                writer.transport.abort()
        await until(lambda: worker.descriptors() <= base + 2)

    through(answers(OK), check)


# --- where it listens ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "host"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.3"), ("::1", "::1"), ("::", "::1"), ("::", "127.0.0.1")],
)
def test_a_worker_listens_on_the_configured_address(address, host):
    if ":" in address + host:
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", 0))
        except OSError:
            return  # a machine without IPv6

    async def main():
        script = answers(OK)
        async with Upstream(script) as upstream:
            with Worker({"/user/a/": upstream.endpoint}, address=address, host=host) as worker:
                assert (await worker.get())[0] == 200
                assert b"x-forwarded-for" in script.seen[0][0].lower()

    asyncio.run(main())
