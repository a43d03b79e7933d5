"""A client that makes no progress holds nothing for long: bodies of every size, half-closed and paused sides."""

import asyncio
import contextlib
import socket

import pytest

from tests.gateway.tunnel_harness import Upstream, Worker, answers, parse, read_request, until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SHORT = {"body_time": 0.5, "write_time": 0.5, "close_time": 0.5}


def through(script, check, **options):
    async def main():
        async with Upstream(script) as upstream:
            with Worker({"/user/a/": upstream.endpoint}, **options) as worker:
                await check(worker, upstream)

    asyncio.run(main())


async def ended(reader):
    """Wait until the worker closes the connection."""
    async with asyncio.timeout(60):
        with contextlib.suppress(ConnectionResetError):
            while await reader.read(2**20):
                pass


async def waits(reader, writer):
    """An app that answers nothing, and notes when its connection ends."""
    waits.open += 1
    try:
        with contextlib.suppress(OSError):
            while await reader.read(2**16):
                pass
    finally:
        waits.open -= 1


@pytest.fixture(autouse=True)
def none_open():
    waits.open = 0


@pytest.mark.parametrize(
    "framing",
    [b"Content-Length: 10", b"Content-Length: 100000000", b"Transfer-Encoding: chunked"],
    ids=["small", "large", "chunked"],
)
@pytest.mark.parametrize("part", [b"", b"1\r\nx\r\n"], ids=["nothing", "some"])
def test_a_body_that_stops_ends_the_connection_and_frees_the_apps(framing, part):
    async def check(worker, upstream):
        reader, writer = await worker.connect()
        writer.write(b"POST /user/a/ HTTP/1.1\r\nHost: h\r\n" + framing + b"\r\n\r\n" + part)
        await ended(reader)
        await until(lambda: waits.open == 0)
        assert (await asyncio.to_thread(worker.control, "stats"))["requests_open"] == 0
        writer.close()

    through(waits, check, limits=SHORT)


def test_a_body_that_moves_slowly_is_waited_for():
    async def script(reader, writer):
        _, body = await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async def check(worker, upstream):
        reader, writer = await worker.connect()
        writer.write(b"POST /user/a/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(15):
            writer.write(b"1\r\nx\r\n")
            await asyncio.sleep(0.1)
        writer.write(b"0\r\n\r\n")
        async with asyncio.timeout(60):
            assert (await reader.readuntil(b"x" * 15)).startswith(b"HTTP/1.1 200")
        writer.close()

    through(script, check, limits=SHORT | {"body_time": 1.0})


def test_a_body_that_the_app_does_not_read_is_not_the_clients_fault():
    size = 16 * 2**20

    async def script(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(2)
        await reader.readexactly(size)
        writer.write(OK)

    async def check(worker, upstream):
        reader, writer = await worker.connect()
        writer.write(b"POST /user/a/ HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        async with asyncio.timeout(60):
            assert parse(await reader.readuntil(b"ok"))[0] == 200
        writer.close()

    through(script, check, limits=SHORT)


def test_an_app_that_reads_nothing_of_a_body_is_a_504():
    async def script(reader, writer):
        writer.transport.pause_reading()
        await asyncio.sleep(60)

    async def check(worker, upstream):
        reader, writer = await worker.connect()
        size = 64 * 2**20
        writer.write(b"POST /user/a/ HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size + b"x" * (size // 2))
        async with asyncio.timeout(60):
            assert parse(await reader.readuntil(b"\r\n\r\n"))[0] == 504
        writer.transport.abort()

    through(script, check, app_read_timeout=0.5)


async def endless(reader, writer):
    """An app whose answer has no end."""
    await read_request(reader)
    waits.open += 1
    try:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                await writer.drain()
    finally:
        waits.open -= 1


def test_a_response_that_the_client_does_not_read_ends():
    async def check(worker, upstream):
        reader, writer = await worker.connect()
        writer.transport.pause_reading()
        writer.write(b"GET /user/a/ HTTP/1.1\r\nHost: h\r\n\r\n")
        await until(lambda: waits.open == 1)
        await until(lambda: waits.open == 0)
        writer.transport.abort()

    through(endless, check, limits=SHORT)


def test_a_response_continues_if_the_client_reads_slowly():
    async def check(worker, upstream):
        reader, writer = await worker.connect()
        writer.write(b"GET /user/a/ HTTP/1.1\r\nHost: h\r\n\r\n")
        for _ in range(20):
            await reader.readexactly(2**20)
            await asyncio.sleep(0.1)
        assert waits.open == 1
        writer.transport.abort()

    through(endless, check, limits=SHORT | {"write_time": 1.0})


def test_a_client_that_half_closes_and_does_not_read_frees_the_apps_connection_at_once():
    async def check(worker, upstream):
        reader, writer = await worker.connect()
        writer.transport.pause_reading()
        writer.write(b"GET /user/a/ HTTP/1.1\r\nHost: h\r\n\r\n")
        await until(lambda: waits.open == 1)
        await asyncio.sleep(0.5)  # all buffers on the way are full
        writer.write_eof()
        await until(lambda: waits.open == 0)
        base = worker.descriptors()
        await until(lambda: worker.descriptors() < base)  # it is dropped, though it never reads
        writer.transport.abort()

    through(endless, check, limits={"close_time": 0.5})


@pytest.mark.parametrize("how", ["half-closed", "reset"])
def test_a_client_that_leaves_while_nothing_is_read_from_it_is_noticed(how):
    """It has sent more than one head's worth ahead of its time, and the rest waits in the kernel."""

    async def check(worker, upstream):
        with socket.create_connection((worker.host, worker.port)) as sock:
            sock.sendall(b"GET /user/a/ HTTP/1.1\r\nHost: h\r\n\r\n" + b"x" * 66_000)
            await until(lambda: waits.open == 1)
            if how == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                sock.close()
            else:
                sock.shutdown(socket.SHUT_WR)
            await until(lambda: waits.open == 0)

    through(waits, check)


def test_a_last_response_that_nobody_reads_does_not_keep_its_connection():
    body = b"x" * 8_000_000

    async def script(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async def check(worker, upstream):
        base = worker.descriptors()
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect((worker.host, worker.port))
            sock.sendall(b"GET /user/a/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            await until(lambda: upstream.connections == 1)
            await until(lambda: worker.descriptors() <= base)

    through(script, check, limits=SHORT)


# --- how much one client may take ---------------------------------------------------------------------------------


def test_one_address_never_takes_all_connections_of_an_app():
    """257 POSTs of one byte from one client made a service unavailable to all others."""

    async def script(reader, writer):
        while (await reader.readuntil(b"\r\n\r\n")).startswith(b"GET"):
            writer.write(OK)
        await reader.read()

    async def check(worker, upstream):
        others = [await worker.connect(source="127.0.0.2") for _ in range(257)]
        for _, writer in others:
            writer.write(b"POST /user/a/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        await until(lambda: upstream.connections >= 128)
        for _ in range(10):
            reader, writer = await worker.connect(source="127.0.0.3")
            writer.write(b"GET /user/a/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            async with asyncio.timeout(60):
                assert parse(await reader.read())[0] == 200
            writer.close()
        assert upstream.connections <= 128 + 10
        for _, writer in others:
            writer.transport.abort()

    through(script, check, per_app=256, per_client=128)


def test_freed_connections_go_to_the_clients_that_wait_in_turn():
    """A client with a hundred requests in the queue is not served before another one's first."""
    served = []

    async def script(reader, writer):
        while True:
            head, _ = await read_request(reader)
            served.append(head.split(b" ")[1].rpartition(b"/")[2].decode())
            await asyncio.sleep(0.02)
            writer.write(OK)

    async def check(worker, upstream):
        opened = []

        async def ask(source, name):
            reader, writer = await worker.connect(source=source)
            opened.append(writer)
            writer.write(f"GET /user/a/{name} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            async with asyncio.timeout(60):
                return parse(await reader.readuntil(b"ok"))[0]

        many = [asyncio.create_task(ask("127.0.0.2", "many")) for _ in range(100)]
        await until(lambda: served.count("many") >= 4)
        others = [await ask(f"127.0.0.{3 + number}", "other") for number in range(3)]
        assert others == [200, 200, 200]
        assert served.count("many") < 60
        assert set(await asyncio.gather(*many)) == {200}
        assert upstream.connections <= 2
        for writer in opened:
            writer.close()

    through(script, check, per_app=2, per_client=2, pool_wait=30.0)


def test_a_request_that_waits_too_long_for_its_clients_others_is_a_429():
    async def check(worker, upstream):
        _, holder = await worker.connect(source="127.0.0.2")
        holder.write(b"GET /user/a/ HTTP/1.1\r\nHost: h\r\n\r\n")
        await until(lambda: waits.open == 1)
        reader, writer = await worker.connect(source="127.0.0.2")
        writer.write(b"GET /user/a/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(60):
            status, _, body = parse(await reader.read())
        assert (status, b"too-many" in body) == (429, True)
        holder.close()
        writer.close()

    through(waits, check, per_client=1, pool_wait=0.3)


def test_a_connection_that_ends_while_requests_wait_makes_room_for_them():
    async def script(reader, writer):
        await read_request(reader)
        await asyncio.sleep(0.05)
        writer.write(OK.replace(b"Content", b"Connection: close\r\nContent"))

    async def check(worker, upstream):
        replies = await asyncio.gather(*(worker.get() for _ in range(12)))
        assert [status for status, _, _ in replies] == [200] * 12
        assert upstream.connections == 12

    through(script, check, per_app=2, per_client=2, pool_wait=30.0)


def test_clients_that_give_up_waiting_leave_no_trace():
    async def check(worker, upstream):
        _, holder = await worker.connect()
        holder.write(b"GET /user/a/ HTTP/1.1\r\nHost: h\r\n\r\n")
        await until(lambda: waits.open == 1)
        for _ in range(20):
            _, writer = await worker.connect()
            writer.write(b"GET /user/a/ HTTP/1.1\r\nHost: h\r\n\r\n")
            await asyncio.sleep(0.01)
            writer.transport.abort()
        await until(lambda: worker.control("stats")["requests"] == 21)
        await until(lambda: worker.control("stats")["requests_open"] == 1)
        holder.transport.abort()
        await until(lambda: waits.open == 0)
        assert upstream.connections == 1

    through(waits, check, per_app=1, per_client=1, pool_wait=30.0)


def test_one_address_has_a_limited_number_of_connections():
    async def check(worker, upstream):
        kept = [await worker.connect(source="127.0.0.2") for _ in range(5)]
        for reader, writer in kept:
            writer.write(b"GET /user/a/ HTTP/1.1\r\nHost: h\r\n\r\n")
            async with asyncio.timeout(60):
                await reader.readuntil(b"ok")
        reader, writer = await worker.connect(source="127.0.0.2")
        await ended(reader)
        writer.close()
        assert (await worker.get())[0] == 200  # another address
        kept.pop()[1].transport.abort()

        async def admitted():
            reader, writer = await worker.connect(source="127.0.0.2")
            writer.write(b"GET /user/a/ HTTP/1.1\r\nHost: h\r\n\r\n")
            try:
                return bool(await reader.read(1))
            except ConnectionResetError:
                return False
            finally:
                writer.close()

        async with asyncio.timeout(60):
            while not await admitted():
                await asyncio.sleep(0.05)
        for _, writer in kept:
            writer.close()

    through(answers(OK), check, limits={"per_address": 5})
