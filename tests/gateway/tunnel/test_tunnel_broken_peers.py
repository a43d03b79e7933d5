"""Apps that die or dawdle before, in and after the head; clients that leave."""

import asyncio
import socket

import pytest

from tests.gateway.tunnel_harness import Upstream, Worker, answers, parse, read_request, until
from tests.ports import free_port

SPARE = 10
"""Descriptors: a request that ends just now, and the connections of starters that wait for the next one."""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def through(script, check, **options):
    async def main():
        async with Upstream(script) as upstream:
            with Worker({"/user/a/": upstream.endpoint}, **options) as worker:
                await check(worker)

    asyncio.run(main())


def dying(*parts):
    """A script that sends these parts and closes."""

    async def script(reader, writer):
        await read_request(reader)
        for part in parts:
            writer.write(part)
            await writer.drain()

    return script


@pytest.mark.parametrize("endpoint", ["tcp", "unix"])
def test_no_app_at_the_endpoint_is_a_503_in_words(endpoint, tmp_path):
    where = ("tcp", free_port()) if endpoint == "tcp" else ("unix", str(tmp_path / "none.sock"))

    async def main():
        with Worker({"/user/a/": where}) as worker:
            status, _, body = await worker.get()
            assert status == 503
            assert b"refused" in body

    asyncio.run(main())


@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 OK\r\nContent-Le"])
def test_an_app_that_dies_before_or_in_the_head_is_a_502(part):
    async def check(worker):
        status, _, body = await worker.get()
        assert status == 502
        assert b"before-headers" in body

    through(dying(part), check)


@pytest.mark.parametrize(
    "parts",
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b"half"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"4\r\nhalf\r\n", b"ff\r\nmore"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",),
    ],
)
def test_a_response_cut_short_does_not_look_whole_to_the_client(parts):
    async def check(worker):
        reader, writer = await worker.connect()
        writer.write(b"GET /user/a/ HTTP/1.1\r\nHost: h\r\n\r\n")
        async with asyncio.timeout(60):
            try:
                raw = await reader.read()
            except ConnectionResetError:
                raw = b""
        writer.close()
        assert not raw.endswith(b"0\r\n\r\n")
        assert raw.count(b"HTTP/1.1") <= 1
        stats = await asyncio.to_thread(worker.control, "stats")
        assert stats["upstream_errors"] == 1
        assert stats["requests_open"] == 0

    through(dying(*parts), check)


def test_a_reset_in_a_body_that_ends_with_its_connection_is_no_end():
    async def script(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await writer.drain()
        await script.seen.wait()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    script.seen = asyncio.Event()

    async def check(worker):
        reader, writer = await worker.connect()
        writer.write(b"GET /user/a/ HTTP/1.1\r\nHost: h\r\n\r\n")
        async with asyncio.timeout(60):
            raw = await reader.readuntil(b"half")
            script.seen.set()
            raw += await reader.read()
        assert not raw.endswith(b"0\r\n\r\n")
        writer.close()

    through(script, check)


def test_an_app_that_closes_after_a_whole_response_is_no_error():
    async def check(worker):
        for _ in range(3):
            assert (await worker.get())[2] == b"ok"
        assert (await asyncio.to_thread(worker.control, "stats"))["upstream_errors"] == 0

    through(dying(OK), check)


def test_a_head_that_comes_byte_by_byte_is_read():
    async def script(reader, writer):
        await read_request(reader)
        for byte in OK:
            writer.write(bytes((byte,)))
            await writer.drain()
            await asyncio.sleep(0)

    async def check(worker):
        assert (await worker.get())[2] == b"ok"

    through(script, check)


def test_an_app_that_never_answers_is_a_504_after_the_time_out():
    async def script(reader, writer):
        await reader.read()

    async def check(worker):
        status, _, body = await worker.get()
        assert status == 504
        assert b"timeout" in body

    through(script, check, head_timeout=0.5)


@pytest.mark.parametrize("websocket", [False, True])
def test_an_app_that_sends_informational_answers_without_end_is_a_502(websocket):
    async def script(reader, writer):
        await read_request(reader)
        while True:
            writer.write(b"HTTP/1.1 102 Processing\r\n\r\n" * 100)
            await writer.drain()

    upgrade = (
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    )

    async def check(worker):
        reader, writer = await worker.connect()
        writer.write(f"GET /user/a/ HTTP/1.1\r\nHost: h\r\n{upgrade if websocket else ''}\r\n".encode())
        async with asyncio.timeout(60):
            head = await reader.readuntil(b"\r\n\r\n")
        assert parse(head)[0] == 502
        writer.close()

    through(script, check)


def test_when_the_client_leaves_before_the_answer_the_app_sees_the_end():
    async def script(reader, writer):
        await read_request(reader)
        script.asked.set()
        script.rest = await reader.read()

    script.asked, script.rest = asyncio.Event(), None

    async def check(worker):
        _, writer = await worker.connect()
        writer.write(b"GET /user/a/ HTTP/1.1\r\nHost: h\r\n\r\n")
        async with asyncio.timeout(60):
            await script.asked.wait()
        writer.close()
        await until(lambda: script.rest == b"")
        stats = await asyncio.to_thread(worker.control, "stats")
        assert (stats["requests_open"], stats["upstream_errors"]) == (0, 0)

    through(script, check)


def test_when_the_client_leaves_in_an_endless_body_the_app_is_no_longer_read():
    async def script(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
                await writer.drain()
                script.sent += 0x4000
        finally:
            script.ended = True

    script.sent, script.ended = 0, False

    async def check(worker):
        reader, writer = await worker.connect()
        writer.write(b"GET /user/a/ HTTP/1.1\r\nHost: h\r\n\r\n")
        await reader.readexactly(100_000)
        writer.transport.abort()
        await until(lambda: script.ended)
        stats = await asyncio.to_thread(worker.control, "stats")
        assert stats["requests_open"] == 0

    through(script, check)


def test_a_client_that_does_not_read_stops_the_app():
    async def script(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"40000\r\n" + b"x" * 0x40000 + b"\r\n")
            await writer.drain()
            script.sent += 0x40000

    script.sent = 0

    async def check(worker):
        reader, writer = await worker.connect()
        writer.transport.pause_reading()
        writer.write(b"GET /user/a/ HTTP/1.1\r\nHost: h\r\n\r\n")
        last = -1
        async with asyncio.timeout(60):
            while script.sent != last or last == 0:
                last = script.sent
                await asyncio.sleep(0.5)
        # Kernel buffers on the way, and ours; not the gigabytes that fit into half a minute.
        assert script.sent < 32 * 2**20
        writer.transport.abort()

    through(script, check)


def test_an_upload_that_breaks_off_never_looks_whole_to_the_app():
    async def script(reader, writer):
        script.raw.append(await reader.read())

    script.raw = []

    async def check(worker):
        for framing in (b"Content-Length: 1000000", b"Transfer-Encoding: chunked"):
            _, writer = await worker.connect()
            writer.write(b"POST /user/a/ HTTP/1.1\r\nHost: h\r\n" + framing + b"\r\n\r\n5\r\nhello\r\n")
            await writer.drain()
            await asyncio.sleep(0.2)
            writer.close()
        await until(lambda: len(script.raw) == 2)
        assert not any(raw.endswith(b"0\r\n\r\n") for raw in script.raw)

    through(script, check)


def test_an_answer_before_the_end_of_the_upload_arrives_and_the_connection_is_not_used_again():
    async def script(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await writer.drain()
        await reader.read()

    async def check(worker):
        for _ in range(2):
            reader, writer = await worker.connect()
            writer.write(b"POST /user/a/ HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000\r\n\r\nstart")
            async with asyncio.timeout(60):
                raw = await reader.readuntil(b"big")
            assert parse(raw)[0] == 413
            writer.close()

    through(script, check)


def test_a_request_that_a_full_pool_cannot_serve_in_time_is_a_503():
    async def script(reader, writer):
        await read_request(reader)
        await reader.read()

    async def check(worker):
        _, holder = await worker.connect()
        holder.write(b"GET /user/a/ HTTP/1.1\r\nHost: h\r\n\r\n")
        await until(lambda: True)
        await asyncio.sleep(0.3)
        status, _, body = await worker.get()
        assert (status, b"busy" in body) == (503, True)
        holder.close()

    through(script, check, per_app=1, pool_wait=0.3)


def test_nothing_is_left_open_after_many_broken_exchanges():
    script = answers(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")

    async def check(worker):
        await worker.get("/none")
        base = worker.descriptors()
        for _ in range(30):
            _, writer = await worker.connect()
            writer.write(b"GET /user/a/ HTTP/1.1\r\nHost: h\r\n\r\n")
            await asyncio.sleep(0.01)
            writer.transport.abort()
        await until(lambda: worker.descriptors() <= base + SPARE)

    through(script, check)
