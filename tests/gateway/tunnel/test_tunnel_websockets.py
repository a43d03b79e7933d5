"""WebSockets through a real worker: the `websockets` library on both ends, and raw sockets."""

import asyncio
import base64
import contextlib
import hashlib

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.gateway.tunnel_harness import Upstream, Worker, until
from tests.ports import free_port

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
HANDSHAKE = (
    "GET /user/a/ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)

FRAME = b"\x81\x82\0\0\0\0hi"


async def echo(websocket):
    with contextlib.suppress(ConnectionClosed):
        async for message in websocket:
            await websocket.send(message)


def through(handler, check, *, server=None, **options):
    async def main():
        async with serve(handler, "127.0.0.1", 0, max_size=None, **(server or {})) as listening:
            port = listening.sockets[0].getsockname()[1]
            with Worker({"/user/a/": ("tcp", port)}, **options) as worker:
                await check(worker)

    asyncio.run(main())


def raw_app(script, check, **options):
    """An app that is a script behind its 101; `script(reader, writer, head)`."""

    async def answer(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        key = next(
            line.split(b": ")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")
        )
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        await script(reader, writer, head)

    async def main():
        async with Upstream(answer) as upstream:
            with Worker({"/user/a/": upstream.endpoint}, **options) as worker:
                await check(worker)

    asyncio.run(main())


def url(worker):
    return f"ws://{worker.origin}/user/a/ws"


async def raw_client(worker, extra=""):
    """(reader, writer, head) after the worker's answer."""
    reader, writer = await worker.connect()
    writer.write((HANDSHAKE + extra + "\r\n").encode())
    async with asyncio.timeout(60):
        return reader, writer, await reader.readuntil(b"\r\n\r\n")


async def closed_with(websocket):
    async with asyncio.timeout(60):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await websocket.recv()
    return websocket.close_code, websocket.close_reason


def test_text_and_binary_of_every_size_come_back():
    async def check(worker):
        async with connect(url(worker), max_size=None) as websocket:
            for size in (0, 1, 125, 126, 127, 200, 65535, 65536, 2**20, 20 * 2**20):
                await websocket.send(b"x" * size)
                assert len(await websocket.recv()) == size
            await websocket.send("Grüße")
            assert await websocket.recv() == "Grüße"

    through(echo, check)


def test_64_mib_in_fragments_pass_both_ways():
    async def check(worker):
        async with connect(url(worker), max_size=None) as websocket:
            piece = bytes(range(256)) * 4096

            async def pieces():
                for _ in range(64):
                    yield piece

            await websocket.send(pieces())
            digest = hashlib.sha256()
            total = 0
            async for part in websocket.recv_streaming():
                digest.update(part)
                total += len(part)
            assert total == 64 * 2**20
            assert digest.digest() == hashlib.sha256(piece * 64).digest()

    async def fragments(websocket):
        with contextlib.suppress(ConnectionClosed):
            message = await websocket.recv()
            await websocket.send(message[at : at + 2**20] for at in range(0, len(message), 2**20))
            await websocket.wait_closed()

    through(fragments, check)


def test_the_subprotocol_that_the_app_chose_reaches_the_client_and_extensions_do_not():
    async def check(worker):
        async with connect(url(worker), subprotocols=["v2", "v1"]) as websocket:
            assert websocket.subprotocol == "v1"
            assert websocket.protocol.extensions == []
            await websocket.send("hi")
            assert await websocket.recv() == "hi"

    through(echo, check, server={"subprotocols": ["v1"]})


def test_the_app_sees_its_credential_and_no_hub_secret():
    async def script(reader, writer, head):
        script.head = head.lower()

    async def check(worker):
        _, writer, _ = await raw_client(
            worker,
            "Cookie: towpath-session=S; a=1\r\nAuthorization: token hub\r\nOrigin: http://h\r\nSec-WebSocket-Extensions: permessage-deflate\r\n",
        )
        assert b"authorization: token secret\r\n" in script.head
        assert b"cookie: a=1\r\n" in script.head
        assert b"origin: http://h\r\n" in script.head
        assert b"extensions" not in script.head
        assert b"aaaaaaaa" not in script.head
        assert b"hub" not in script.head
        writer.close()

    raw_app(script, check)


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4000, 4999]
)
def test_close_codes_and_reasons_pass_both_ways(code):
    async def handler(websocket):
        with contextlib.suppress(ConnectionClosed):
            if await websocket.recv() == "you":
                await websocket.close(code, "from the app")
            else:
                handler.seen = await closed_with(websocket)

    async def check(worker):
        async with connect(url(worker)) as websocket:
            await websocket.send("you")
            assert await closed_with(websocket) == (code, "from the app")
        async with connect(url(worker)) as websocket:
            await websocket.send("me")
            await websocket.close(code, "from the client")
        await until(lambda: handler.seen == (code, "from the client"))
        await until(lambda: worker.control("stats")["websockets"] == 0)

    handler.seen = None
    through(handler, check)


def test_a_close_without_a_code_and_an_end_without_a_close_pass():
    async def handler(websocket):
        handler.codes.append((await closed_with(websocket))[0])

    async def check(worker):
        reader, writer, _ = await raw_client(worker)
        writer.write(bytes((0x88, 0x80, 0, 0, 0, 0)))
        assert await reader.readexactly(2) == bytes((0x88, 0))
        writer.close()
        await until(lambda: handler.codes == [1005])
        _, writer, _ = await raw_client(worker)
        writer.transport.abort()
        await until(lambda: handler.codes == [1005, 1006])

    handler.codes = []
    through(handler, check)


def test_a_message_above_the_limit_closes_with_1009_either_way_fragments_counted_together():
    async def handler(websocket):
        with contextlib.suppress(ConnectionClosed):
            if await websocket.recv() == "send":
                await websocket.send(b"x" * 600_000 for _ in range(2))
            handler.codes.append((await closed_with(websocket))[0])

    async def check(worker):
        async with connect(url(worker), max_size=None) as websocket:
            await websocket.send("send")
            assert (await closed_with(websocket))[0] == 1009
        async with connect(url(worker)) as websocket:
            await websocket.send("listen")
            with contextlib.suppress(ConnectionClosed):
                await websocket.send(b"x" * 600_000 for _ in range(2))
            assert (await closed_with(websocket))[0] == 1009
        await until(lambda: handler.codes == [1009, 1009])

    handler.codes = []
    through(handler, check, message_limit=1_000_000)


@pytest.mark.parametrize(
    "frame", [bytes((0x82, 1)) + b"x", bytes((0xC2, 0x80, 0, 0, 0, 0)), bytes((0x83, 0x80, 0, 0, 0, 0))]
)
def test_a_client_that_breaks_the_protocol_is_closed_with_1002(frame):
    async def check(worker):
        reader, writer, _ = await raw_client(worker)
        writer.write(frame)
        async with asyncio.timeout(60):
            assert (await reader.readexactly(4))[2:] == (1002).to_bytes(2)
        writer.close()

    through(echo, check)


def test_an_app_that_masks_its_frames_is_closed_with_1002():
    async def script(reader, writer, head):
        writer.write(bytes((0x82, 0x81, 0, 0, 0, 0)) + b"x")
        await reader.read()

    async def check(worker):
        reader, writer, _ = await raw_client(worker)
        assert (await reader.readexactly(4))[2:] == (1002).to_bytes(2)
        writer.close()

    raw_app(script, check)


def test_frames_right_behind_the_101_reach_the_client():
    async def script(reader, writer, head):
        writer.write(bytes((0x82, 5)) + b"hello")
        await reader.read()

    async def check(worker):
        reader, writer, _ = await raw_client(worker)
        assert await reader.readexactly(7) == bytes((0x82, 5)) + b"hello"
        writer.close()

    raw_app(script, check)


def test_sign_out_closes_within_a_second_while_messages_flow():
    async def handler(websocket):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await websocket.send(b"x" * 3000)
        handler.codes.append(websocket.close_code)

    async def check(worker):
        async with connect(url(worker)) as websocket:
            await websocket.recv()
            closing = asyncio.create_task(asyncio.to_thread(worker.control, "close?user=a&code=4401&reason=signed+out"))
            async with asyncio.timeout(60):
                assert await closed_with(websocket) in ((4401, "signed out"), (1006, ""))
            assert await closing == 1
        await until(lambda: handler.codes)

    handler.codes = []
    through(handler, check)


def test_drain_closes_with_1012_and_a_dropped_route_too():
    async def check(worker):
        async with connect(url(worker)) as websocket:
            await asyncio.to_thread(worker.control, "drop?prefix=/user/a/")
            assert (await closed_with(websocket))[0] == 1012
        async with connect(url(worker)) as one, connect(url(worker)) as other:
            await asyncio.to_thread(worker.control, "drain?deadline=5")
            assert (await closed_with(one))[0] == 1012
            assert (await closed_with(other))[0] == 1012

    through(echo, check)


def test_a_side_that_gives_no_sign_of_life_is_pinged_and_then_dropped():
    async def script(reader, writer, head):
        # The app lives: it answers pings. The client does not.
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                first, second = await reader.readexactly(2)
                body = await reader.readexactly(4 + (second & 0x7F))
                if first == 0x89:
                    payload = bytes(byte ^ body[index & 3] for index, byte in enumerate(body[4:]))
                    writer.write(bytes((0x8A, len(payload))) + payload)
                    script.pings += 1
        script.ended = True

    script.pings, script.ended = 0, False

    async def check(worker):
        reader, writer, _ = await raw_client(worker)
        async with asyncio.timeout(60):
            ping = await reader.readexactly(10)
            assert ping[:2] == bytes((0x89, 8))
            # Nothing but pings arrives: the app's pongs are ours to swallow.
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()
        await until(lambda: script.ended)
        assert script.pings >= 1

    raw_app(script, check, ping_interval=1.0)


def test_sides_that_answer_pings_stay_connected():
    async def check(worker):
        async with connect(url(worker), ping_interval=None) as websocket:
            await asyncio.sleep(3.5)
            await websocket.send("still here")
            assert await websocket.recv() == "still here"

    through(echo, check, server={"ping_interval": None}, ping_interval=1.5)


def test_a_client_that_does_not_read_stops_the_app():
    async def script(reader, writer, head):
        while True:
            writer.write(bytes((0x82, 126, 0x40, 0)) + b"x" * 0x4000)
            await writer.drain()
            script.sent += 0x4000

    script.sent = 0

    async def check(worker):
        _, writer, _ = await raw_client(worker)
        writer.transport.pause_reading()
        last = -1
        async with asyncio.timeout(60):
            while script.sent != last or last == 0:
                last = script.sent
                await asyncio.sleep(0.5)
        assert script.sent < 32 * 2**20
        writer.transport.abort()

    raw_app(script, check)


@pytest.mark.parametrize("status", [403, 404, 500])
def test_an_apps_refusal_reaches_the_client_with_its_body(status):
    async def refuse(connection, request):
        response = connection.respond(status, "not for you\n")
        response.headers["Set-Cookie"] = "a=1; Path=/"
        return response

    async def check(worker):
        with pytest.raises(InvalidStatus) as caught:
            await connect(url(worker))
        assert caught.value.response.status_code == status
        assert caught.value.response.body == b"not for you\n"
        assert caught.value.response.headers["Set-Cookie"] == "a=1; Path=/user/a/"

    through(echo, check, server={"process_request": refuse})


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
        b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"not http\r\n\r\n",
        b"HTTP/1.1 101 ",
        b"",
    ],
)
def test_an_answer_that_is_no_handshake_is_a_502(answer):
    async def script(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    async def main():
        async with Upstream(script) as upstream:
            with Worker({"/user/a/": upstream.endpoint}) as worker:
                with pytest.raises(InvalidStatus) as caught:
                    await connect(url(worker))
                assert caught.value.response.status_code == 502
                assert worker.control("stats")["websockets"] == 0

    asyncio.run(main())


def test_no_app_is_a_503():
    async def main():
        with Worker({"/user/a/": ("tcp", free_port())}) as worker:
            with pytest.raises(InvalidStatus) as caught:
                await connect(url(worker))
            assert caught.value.response.status_code == 503

    asyncio.run(main())


def test_a_client_that_leaves_before_the_accept_is_quiet_and_nothing_stays_open():
    async def slow(connection, request):
        await asyncio.sleep(0.3)

    async def check(worker):
        for _ in range(5):
            _, writer = await worker.connect()
            writer.write((HANDSHAKE + "\r\n").encode())
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.transport.abort()
        await until(lambda: worker.control("stats")["websockets_total"] == 5)
        await until(lambda: worker.control("stats")["websockets"] == 0)
        base = worker.descriptors()
        async with connect(url(worker)) as websocket:
            await websocket.send("works")
            assert await websocket.recv() == "works"
        await until(lambda: worker.descriptors() <= base)

    through(echo, check, server={"process_request": slow})


def test_no_descriptor_stays_open_after_many_websockets():
    async def check(worker):
        await worker.get("/none")
        base = worker.descriptors()
        for _ in range(3):
            async with contextlib.AsyncExitStack() as stack:
                sockets = [await stack.enter_async_context(connect(url(worker))) for _ in range(20)]
                for number, websocket in enumerate(sockets):
                    await websocket.send(str(number))
                for number, websocket in enumerate(sockets):
                    assert await websocket.recv() == str(number)
        await until(lambda: worker.descriptors() <= base + 1)

    through(echo, check)


def test_the_fields_of_the_apps_101_reach_the_client_by_the_rules():
    async def answer(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        key = next(
            line.split(b": ")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")
        )
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: towpath-session=evil\r\n"
            b"X-App: yes\r\nStrict-Transport-Security: max-age=1\r\n\r\n"
        )
        await reader.read()

    async def main():
        async with Upstream(answer) as upstream:
            with Worker({"/user/a/": upstream.endpoint}) as worker:
                _, writer, head = await raw_client(worker)
                lines = [line.lower() for line in head.split(b"\r\n") if line]
                assert [line for line in lines if line.startswith(b"set-cookie")] == [b"set-cookie: a=1; path=/user/a/"]
                assert b"x-app: yes" in lines
                assert not any(line.startswith(b"strict-transport") for line in lines)
                for name in (b"upgrade:", b"connection:", b"sec-websocket-accept:"):
                    assert len([line for line in lines if line.startswith(name)]) == 1
                # The accept value is made of the client's key, not of ours to the app (RFC 6455 section 4.2.2).
                wanted = base64.b64encode(hashlib.sha1(b"AAAAAAAAAAAAAAAAAAAAAA==" + GUID).digest()).lower()
                assert b"sec-websocket-accept: " + wanted in lines
                writer.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        ("Version: 13", "Version: 8", 426),
        ("Sec-WebSocket-Version: 13\r\n", "", 426),
        ("Key: AAAAAAAAAAAAAAAAAAAAAA==", "Key: AAAA", 400),
        (
            "Key: AAAAAAAAAAAAAAAAAAAAAA==",
            "Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            400,
        ),
        ("Host: h", "Host: h\r\nContent-Length: 5", 400),
        ("GET ", "POST ", 400),
    ],
)
def test_a_handshake_that_is_not_as_it_must_be_never_reaches_the_app(old, new, status):
    async def script(reader, writer):
        script.asked = True

    script.asked = False

    async def main():
        async with Upstream(script) as upstream:
            with Worker({"/user/a/": upstream.endpoint}) as worker:
                reader, writer = await worker.connect()
                # What a client sends behind a refused handshake is no request.
                behind = "GET /user/a/smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
                writer.write((HANDSHAKE.replace(old, new) + "\r\n" + behind).encode())
                async with asyncio.timeout(60):
                    raw = await reader.read()
                assert raw.startswith(f"HTTP/1.1 {status} ".encode())
                assert raw.count(b"HTTP/1.1") == 1
                assert (b"sec-websocket-version: 13" in raw) is (status == 426)
                assert not script.asked
                writer.close()

    asyncio.run(main())


def test_frames_that_come_with_the_handshake_are_not_lost():
    async def script(reader, writer, head):
        script.got = await reader.readexactly(len(FRAME))
        writer.write(b"\x81\x02ok")
        await reader.read()

    async def check(worker):
        reader, writer = await worker.connect()
        writer.write((HANDSHAKE + "\r\n").encode() + FRAME)
        async with asyncio.timeout(60):
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(4) == b"\x81\x02ok"
        assert script.got == FRAME
        writer.close()

    raw_app(script, check)


def test_frames_make_activity_and_silence_does_not():
    async def check(worker):
        async with connect(url(worker), ping_interval=0.2) as websocket:
            before = (await asyncio.to_thread(worker.control, "stats"))["noted"]
            await asyncio.sleep(2.5)
            assert (await asyncio.to_thread(worker.control, "stats"))["noted"] == before
            await websocket.send("x")
            await until(lambda: worker.control("stats")["noted"] > before)

    through(echo, check)
