"""How WebSockets are refused, bounded and ended, through a real worker and with raw sockets on both sides."""

import asyncio
import base64
import contextlib
import hashlib

import pytest

from tests.gateway.tunnel_harness import Upstream, Worker, parse, until

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = b"AAAAAAAAAAAAAAAAAAAAAA=="
HANDSHAKE = (
    b"GET /user/a/ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
)
CLOSE_FROM_CLIENT = bytes((0x88, 0x82, 0, 0, 0, 0)) + (1000).to_bytes(2)
CLOSE_FROM_APP = bytes((0x88, 0x02)) + (1000).to_bytes(2)


def accepted(head, more=b""):
    """A 101 for a request."""
    (key,) = (
        line.partition(b":")[2].strip()
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key:")
    )
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n" + more + b"\r\n"
    )


def through(script, check, **options):
    """`script(reader, writer, head)` is what the app does behind the head of a request."""

    async def app(reader, writer):
        await script(reader, writer, await reader.readuntil(b"\r\n\r\n"))

    async def main():
        async with Upstream(app) as upstream:
            with Worker({"/user/a/": upstream.endpoint}, **options) as worker:
                await check(worker, upstream)

    asyncio.run(main())


async def opened(worker, source=None):
    """(reader, writer, status) of a handshake's answer."""
    reader, writer = await worker.connect(source=source)
    writer.write(HANDSHAKE)
    async with asyncio.timeout(60):
        head = await reader.readuntil(b"\r\n\r\n")
    return reader, writer, int(head.split(b" ")[1])


async def stats(worker):
    return await asyncio.to_thread(worker.control, "stats")


async def gone(worker):
    """Wait until the worker has nothing open any more."""
    async with asyncio.timeout(60):
        while True:
            found = await stats(worker)
            if not found["websockets"] and not found["requests_open"]:
                return
            await asyncio.sleep(0.05)


# --- answers to the handshake ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 10, 64 * 1024, 3 * 2**20])
@pytest.mark.parametrize("framing", ["counted", "chunked", "until the end"])
def test_the_body_of_a_refusal_arrives_whole(size, framing):
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    async def script(reader, writer, head):
        start = b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\n"
        if framing == "counted":
            writer.write(start + b"Content-Length: %d\r\n\r\n" % size + body)
        elif framing == "chunked":
            chunk = b"%x\r\n%b\r\n" % (size, body) if size else b""
            writer.write(start + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n")
        else:
            writer.write(start + b"\r\n" + body)
        await writer.drain()
        if framing != "until the end":
            await reader.read()

    async def check(worker, upstream):
        status, fields, received = parse(await worker.ask(HANDSHAKE))
        assert (status, received == body) == (403, True)
        assert fields["connection"] == ["close"]
        await gone(worker)

    through(script, check)


@pytest.mark.parametrize(
    "odd",
    [
        b"X: a\x01b\r\n",
        b"X : y\r\n",
        b"X: y\r\n folded\r\n",
        b"X: a\nY: b\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
    ],
)
@pytest.mark.parametrize("status", [101, 403])
def test_an_answer_that_two_readers_could_read_differently_is_a_502(odd, status):
    async def script(reader, writer, head):
        if status == 101:
            writer.write(accepted(head, odd))
        else:
            writer.write(b"HTTP/1.1 403 Forbidden\r\n" + odd + b"\r\n")
        await reader.read()

    async def check(worker, upstream):
        assert parse(await worker.ask(HANDSHAKE))[0] == 502
        await gone(worker)

    through(script, check)


def test_informational_answers_before_the_101_are_passed_over():
    async def script(reader, writer, head):
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 3 + accepted(head) + b"\x81\x02hi")
        await reader.read()

    async def check(worker, upstream):
        reader, writer, status = await opened(worker)
        assert status == 101
        async with asyncio.timeout(60):
            assert await reader.readexactly(4) == b"\x81\x02hi"
        writer.close()

    through(script, check)


def test_an_app_that_does_not_answer_the_handshake_is_a_504():
    async def script(reader, writer, head):
        await reader.read()

    async def check(worker, upstream):
        assert parse(await worker.ask(HANDSHAKE))[0] == 504
        await gone(worker)

    through(script, check, handshake_timeout=0.5)


def test_a_websocket_that_is_revoked_during_its_handshake_ends_as_soon_as_it_is_open():
    async def script(reader, writer, head):
        script.asked.set()
        await script.go.wait()
        writer.write(accepted(head))
        await reader.read()

    script.asked, script.go = asyncio.Event(), asyncio.Event()

    async def check(worker, upstream):
        reader, writer = await worker.connect()
        writer.write(HANDSHAKE)
        async with asyncio.timeout(60):
            await script.asked.wait()
            assert await asyncio.to_thread(worker.control, "close?user=a&code=4401&reason=out") == 1
            script.go.set()
            raw = await reader.read()
        assert raw.endswith(bytes((0x88, 5)) + (4401).to_bytes(2) + b"out")
        await gone(worker)
        writer.close()

    through(script, check)


def test_a_refusal_without_end_is_cut_when_its_caller_is_revoked():
    async def script(reader, writer, head):
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                writer.write(b"1\r\nx\r\n")
                await writer.drain()
                await asyncio.sleep(0.01)

    async def check(worker, upstream):
        reader, writer, status = await opened(worker)
        assert status == 200
        assert await asyncio.to_thread(worker.control, "close?user=a&code=4401") == 1
        async with asyncio.timeout(60):
            with contextlib.suppress(ConnectionResetError):
                await reader.read()
        await gone(worker)
        writer.close()

    through(script, check)


# --- how many ---------------------------------------------------------------------------------------------------------


async def silent(reader, writer, head):
    """An app that accepts, and then says nothing."""
    writer.write(accepted(head))
    await reader.read()


def test_one_client_has_a_limited_number_of_websockets_and_an_app_too():
    async def check(worker, upstream):
        kept = [await opened(worker, "127.0.0.2") for _ in range(3)]
        assert [status for _, _, status in kept] == [101] * 3
        assert (await opened(worker, "127.0.0.2"))[2] == 429
        others = [await opened(worker, f"127.0.0.{number}") for number in (3, 4)]
        assert [status for _, _, status in others] == [101] * 2
        assert (await opened(worker, "127.0.0.5"))[2] == 429
        kept[0][1].transport.abort()
        await until(lambda: worker.control("stats")["websockets"] == 4)
        assert (await opened(worker, "127.0.0.5"))[2] == 101

    through(silent, check, websockets_per_client=3, websockets_per_app=5)


def test_a_websocket_that_is_not_opened_is_not_counted():
    async def script(reader, writer, head):
        if script.refuse:
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        else:
            writer.write(accepted(head))
        await reader.read()

    script.refuse = True

    async def check(worker, upstream):
        for _ in range(5):
            assert (await opened(worker))[2] == 403
        for bad in (HANDSHAKE.replace(b"Version: 13", b"Version: 8"), HANDSHAKE.replace(KEY, b"short")):
            assert parse(await worker.ask(bad))[0] in {426, 400}
        for _ in range(3):
            before = upstream.connections
            _, writer = await worker.connect()
            writer.write(HANDSHAKE)
            await until(lambda before=before: upstream.connections > before)
            writer.transport.abort()
            await gone(worker)
        script.refuse = False
        assert (await opened(worker))[2] == 101

    through(script, check, websockets_per_client=1)


# --- ends ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["client", "app"])
def test_it_is_over_when_both_sides_have_sent_a_close_frame(first):
    """RFC 6455 section 7.1.1. Neither of the two closes its connection here."""

    async def script(reader, writer, head):
        writer.write(accepted(head))
        if first == "app":
            writer.write(CLOSE_FROM_APP)
        script.got = await reader.readexactly(len(CLOSE_FROM_CLIENT))
        if first == "client":
            writer.write(CLOSE_FROM_APP)
        script.rest = await reader.read()

    async def check(worker, upstream):
        reader, writer, _ = await opened(worker)
        if first == "client":
            writer.write(CLOSE_FROM_CLIENT)
        async with asyncio.timeout(60):
            assert await reader.readexactly(len(CLOSE_FROM_APP)) == CLOSE_FROM_APP
            if first == "app":
                writer.write(CLOSE_FROM_CLIENT)
            assert await reader.read() == b""
        await gone(worker)
        await until(lambda: script.rest == b"")
        writer.close()

    script.rest = None

    through(script, check)


def test_a_side_that_never_answers_a_close_frame_is_dropped():
    async def script(reader, writer, head):
        writer.write(accepted(head) + CLOSE_FROM_APP)
        await reader.read()

    async def check(worker, upstream):
        reader, writer, _ = await opened(worker)
        async with asyncio.timeout(60):
            raw = await reader.read()
        assert raw == CLOSE_FROM_APP, "nothing is sent behind a close frame"
        await gone(worker)
        writer.close()

    through(script, check, ping_interval=0.5)


async def flood(reader, writer, head):
    """An app that sends without end, and reads what comes."""
    writer.write(accepted(head))
    reading = asyncio.create_task(reader.read())
    try:
        with contextlib.suppress(OSError):
            while True:
                writer.write(b"\x82\x7f" + (2**16).to_bytes(8) + bytes(2**16))
                await writer.drain()
    finally:
        reading.cancel()


def test_a_client_that_sends_but_does_not_read_is_dropped():
    async def check(worker, upstream):
        _, writer, _ = await opened(worker)
        writer.transport.pause_reading()
        async with asyncio.timeout(60):
            while (await stats(worker))["websockets"]:
                writer.write(b"\x89\x80\0\0\0\0")  # signs of life, but no progress
                await asyncio.sleep(0.1)
        writer.transport.abort()

    through(flood, check, write_timeout=0.5)


def test_two_sides_that_wait_for_each_other_are_dropped():
    async def deaf(reader, writer, head):
        writer.transport.pause_reading()
        await flood(reader, writer, head)

    async def check(worker, upstream):
        _, writer, _ = await opened(worker)
        writer.transport.pause_reading()
        for _ in range(400):
            writer.write(b"\x82\xff" + (2**16).to_bytes(8) + b"\0\0\0\0" + bytes(2**16))
        await gone(worker)
        writer.transport.abort()

    through(deaf, check, write_timeout=0.5)


def test_a_client_that_half_closes_and_does_not_read_is_dropped():
    async def check(worker, upstream):
        _, writer, _ = await opened(worker)
        writer.transport.pause_reading()
        await asyncio.sleep(0.5)
        with contextlib.suppress(OSError):  # a slow machine: it is dropped already
            writer.write_eof()
        await gone(worker)
        writer.transport.abort()

    through(flood, check, write_timeout=2.0)


def test_a_client_that_reads_slowly_stays():
    async def check(worker, upstream):
        reader, writer, _ = await opened(worker)
        for _ in range(20):
            await reader.readexactly(2**20)
            await asyncio.sleep(0.1)
        assert (await stats(worker))["websockets"] == 1
        writer.transport.abort()

    through(flood, check, write_timeout=1.0)
