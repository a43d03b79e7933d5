"""HTTP through a real worker to scripted apps on real sockets."""

import asyncio
import contextlib
import hashlib
import socket

import pytest

from tests.gateway.tunnel_harness import Upstream, Worker, answers, parse, read_request, until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def through(script, check, *, path=None, **options):
    """Run `check(worker, upstream)` with one app behind `/user/a/`."""

    async def main():
        async with Upstream(script, path=path) as upstream:
            with Worker({"/user/a/": upstream.endpoint}, **options) as worker:
                await check(worker, upstream)

    asyncio.run(main())


def lines_of(head):
    return [line.lower() for line in head.split(b"\r\n")[1:-2]]


def test_the_path_and_query_reach_the_app_byte_for_byte():
    script = answers(OK)
    targets = [
        "/user/a/x%2Fy/%2e%2e/z;p=1?q=%20&&=%zz",
        "/user/a//double//",
        "/user/a/%00%FF%5c..%2F",
        "/user/a/a'b(c)!$*,:@~",
        "/user/a/?",
    ]

    async def check(worker, upstream):
        for target in targets:
            status, _, body = await worker.get(target)
            assert (status, body) == (200, b"ok")
        sent = [head.split(b" ")[1].decode() for head, _ in script.seen]
        assert sent[:-1] == targets[:-1]
        assert sent[-1] in ("/user/a/?", "/user/a/")

    through(script, check)


def test_methods_bodies_and_repeated_fields_pass_both_ways():
    script = answers(b"HTTP/1.1 200 Fine\r\nX-R: 1\r\nx-r: 2\r\nContent-Length: 0\r\n\r\n")

    async def check(worker, upstream):
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "LOCK"):
            status, fields, _ = await worker.get(
                "/user/a/x", method=method, headers="X-S: 1\r\nX-S: 2\r\n", body=b"body"
            )
            assert status == 200
            assert fields["x-r"] == ["1", "2"]
            head, body = script.seen[-1]
            assert head.startswith(method.encode() + b" /user/a/x HTTP/1.1\r\n")
            assert body == b"body"
            assert [line for line in lines_of(head) if line.startswith(b"x-s")] == [b"x-s: 1", b"x-s: 2"]

    through(script, check)


def test_the_app_sees_its_credential_the_host_and_where_from_but_no_hub_secret():
    script = answers(OK)

    async def check(worker, upstream):
        await worker.get(
            "/user/a/x",
            headers="Authorization: token hub\r\nCookie: a=1; towpath-session=S; __Host-towpath-session=S\r\n"
            "Cookie: towpath-session=S\r\nX-Forwarded-For: 10.9.9.9\r\nForwarded: for=10.9.9.9\r\nTE: trailers\r\n"
            "Connection: x-mine\r\nX-Mine: 1\r\nUpgrade: h2c\r\nProxy-Authorization: x\r\n",
        )
        lines = lines_of(script.seen[0][0])
        assert b"authorization: token secret" in lines
        assert b"cookie: a=1" in lines
        assert f"host: {worker.origin}".encode() in lines
        assert b"x-forwarded-for: 127.0.0.1" in lines
        text = b"\n".join(lines)
        for gone in (b"hub\n", b"=s", b"10.9.9.9", b"te:", b"x-mine", b"upgrade", b"proxy-auth", b"connection"):
            assert gone not in text

    through(script, check)


@pytest.mark.parametrize(("credential", "told"), [("token secret", [b"x-forwarded-user: a"]), ("", [])])
def test_an_app_that_trusts_our_credential_gets_the_user_only_from_us(credential, told):
    script = answers(OK)

    async def check(worker, upstream):
        await worker.get("/user/a/x", headers="X-Forwarded-User: mallory\r\nX_Forwarded_User: mallory\r\n")
        lines = lines_of(script.seen[0][0])
        assert [line for line in lines if b"forwarded-user" in line.replace(b"_", b"-")] == told

    through(script, check, credential=credential)


def test_a_trusted_proxy_is_believed():
    script = answers(OK)

    async def check(worker, upstream):
        await worker.get("/user/a/x", headers="X-Forwarded-For: 10.9.9.9\r\nX-Forwarded-Proto: https\r\n")
        lines = lines_of(script.seen[0][0])
        assert b"x-forwarded-for: 10.9.9.9, 127.0.0.1" in lines
        assert b"x-forwarded-proto: https" in lines

    through(script, check, trusted_proxies=["127.0.0.0/8"])


def test_an_apps_cookies_stay_under_its_path_and_cannot_be_the_hubs():
    script = answers(
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/; Domain=x.org\r\nSet-Cookie: towpath-session=evil; Path=/\r\n"
        b"Set-Cookie: __Host-towpath-session=evil; Path=/; Secure\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n"
    )

    async def check(worker, upstream):
        _, fields, _ = await worker.get()
        assert fields["set-cookie"] == ["a=1; Path=/user/a/", "b=2; Path=/user/a/"]

    through(script, check)


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3;x=y\r\ndef\r\n0\r\nX-Trailer: 1\r\n\r\n", b"abcdef"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\nETag: x\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    ],
)  # fmt: skip
def test_every_framing_of_a_response_arrives_whole_and_the_next_request_works(raw, body):
    script = answers(raw)

    async def check(worker, upstream):
        for _ in range(3):
            _, fields, got = await worker.get()
            assert got == body
            assert "x-trailer" not in fields
            assert "link" not in fields

    through(script, check)


def test_a_response_that_ends_with_its_connection_arrives_whole():
    async def script(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nfirst ")
        await writer.drain()
        writer.write(b"second")

    async def check(worker, upstream):
        for _ in range(2):
            assert (await worker.get())[2] == b"first second"

    through(script, check)


def test_head_has_the_length_and_no_body_and_the_connection_is_not_used_again():
    async def script(reader, writer):
        while True:
            head, _ = await read_request(reader)
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + (b"" if head.startswith(b"HEAD") else b"hello")
            )

    async def check(worker, upstream):
        for _ in range(3):
            status, fields, body = await worker.get(method="HEAD")
            assert (status, fields["content-length"], body) == (200, ["5"], b"")
            assert (await worker.get())[2] == b"hello"
        assert upstream.connections == 4

    through(script, check)


def test_an_app_on_a_unix_socket_is_reached(tmp_path):
    async def check(worker, upstream):
        assert (await worker.get())[2] == b"ok"

    through(answers(OK), check, path=tmp_path / "app.sock")


def test_more_requests_at_once_than_an_app_lets_wait_on_its_socket_are_all_answered(tmp_path):
    """The app allows one connection that it has not accepted yet, and accepts none at first (listen(2))."""

    async def main():
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tmp_path / "app"))
        listener.listen(0)
        script = answers(OK)
        with Worker({"/user/a/": ("unix", str(tmp_path / "app"))}) as worker:
            requests = [asyncio.create_task(worker.get("/user/a/x")) for _ in range(20)]
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(requests[0]), 0.3)
            server = await asyncio.start_unix_server(Upstream(script)._serve, sock=listener, backlog=1)
            async with server:
                assert [status for status, _, _ in await asyncio.gather(*requests)] == [200] * 20

    asyncio.run(main())


def test_server_sent_events_arrive_one_by_one_and_the_app_sees_the_client_leave():
    async def script(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(3):
            event = b"data: %d\n\n" % number
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
            await script.next.wait()
            script.next.clear()
        script.left = await reader.read() == b""

    async def check(worker, upstream):
        reader, writer = await worker.connect()
        writer.write(b"GET /user/a/ HTTP/1.1\r\nHost: h\r\n\r\n")
        for number in range(3):
            async with asyncio.timeout(60):
                await reader.readuntil(b"data: %d\n\n" % number)
            script.next.set()
        writer.close()
        await until(lambda: script.left)

    script.next, script.left = asyncio.Event(), False
    through(script, check)


def test_an_upload_in_chunks_reaches_the_app_as_it_comes():
    async def script(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        script.head = head
        await reader.readuntil(b"first")
        script.first.set()
        await reader.readuntil(b"0\r\n\r\n")
        writer.write(OK)

    async def check(worker, upstream):
        reader, writer = await worker.connect()
        writer.write(
            b"POST /user/a/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nfirst\r\n"
        )
        async with asyncio.timeout(60):
            await script.first.wait()
            writer.write(b"6\r\nsecond\r\n0\r\nX-Trailer: no\r\n\r\n")
            assert parse(await reader.read())[2] == b"ok"
        assert b"transfer-encoding: chunked" in script.head.lower()
        assert b"content-length" not in script.head.lower()
        writer.close()

    script.first = asyncio.Event()
    through(script, check)


def test_expect_100_continue_is_answered_and_not_passed_on():
    script = answers(OK)

    async def check(worker, upstream):
        reader, writer = await worker.connect()
        writer.write(
            b"PUT /user/a/ HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\nConnection: close\r\n\r\n"
        )
        async with asyncio.timeout(60):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
            writer.write(b"body")
            assert parse(await reader.read())[2] == b"ok"
        assert script.seen[0][1] == b"body"
        assert b"expect" not in script.seen[0][0].lower()
        writer.close()

    through(script, check)


def test_large_bodies_arrive_unchanged_both_ways():
    blob = bytes(range(256)) * 40000  # 10 MB

    async def script(reader, writer):
        while True:
            _, body = await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()

    async def check(worker, upstream):
        _, _, body = await worker.get(method="POST", body=blob)
        assert hashlib.sha256(body).digest() == hashlib.sha256(blob).digest()

    through(script, check)


def test_many_requests_at_once_use_a_bounded_number_of_connections():
    async def script(reader, writer):
        while True:
            await read_request(reader)
            await asyncio.sleep(0.01)
            writer.write(OK)

    async def check(worker, upstream):
        results = await asyncio.gather(*(worker.get() for _ in range(60)))
        assert {status for status, _, _ in results} == {200}
        assert upstream.connections <= 4

    through(script, check, per_app=4)


def test_a_stale_connection_is_replaced_for_a_get_and_never_hands_a_post_over_twice():
    async def script(reader, writer):
        head, _ = await read_request(reader)
        upstream_seen.append(head.split(b" ")[0])
        writer.write(OK)
        await writer.drain()
        # The next request on this connection is read, and the connection is closed without a response.
        await reader.readuntil(b"\r\n\r\n")
        upstream_seen.append(b"dropped")

    upstream_seen = []

    async def check(worker, upstream):
        assert (await worker.get())[0] == 200
        assert (await worker.get())[0] == 200
        assert upstream_seen == [b"GET", b"dropped", b"GET"]
        status, _, body = await worker.get(method="POST", body=b"x")
        assert (status, b"before-headers" in body) == (502, True)
        assert upstream_seen == [b"GET", b"dropped", b"GET", b"dropped"]

    through(script, check)


def test_an_app_that_closes_idle_connections_is_not_noticed():
    async def script(reader, writer):
        await read_request(reader)
        writer.write(OK)

    async def check(worker, upstream):
        for turn in range(5):
            assert (await worker.get(method="POST", body=b"x"))[0] == 200
            await until(lambda turn=turn: upstream.closed == turn + 1)
            while await asyncio.to_thread(worker.control, "app-connections"):
                await asyncio.sleep(0.01)

    through(script, check)


def test_idle_connections_are_closed_after_their_time():
    async def script(reader, writer):
        await read_request(reader)
        writer.write(OK)
        script.ended.append(await reader.read())

    script.ended = []

    async def check(worker, upstream):
        await worker.get()
        await until(lambda: script.ended == [b""])

    through(script, check, idle_timeout=0.1)


def test_a_dropped_route_closes_its_idle_connections_and_the_next_request_works():
    async def script(reader, writer):
        while True:
            await read_request(reader)
            writer.write(OK)

    async def check(worker, upstream):
        assert (await worker.get())[0] == 200
        await asyncio.to_thread(worker.control, "drop?prefix=/user/a/")
        assert (await worker.get())[0] == 200
        assert upstream.connections == 2

    through(script, check)


def test_a_stream_of_a_caller_who_signs_out_is_cut_and_others_stay():
    async def script(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        await writer.drain()
        script.ended.append(await reader.read())

    script.ended = []

    async def check(worker, upstream):
        reader, writer = await worker.connect()
        writer.write(b"GET /user/a/ HTTP/1.1\r\nHost: h\r\n\r\n")
        await reader.readuntil(b"x\r\n")
        assert await asyncio.to_thread(worker.control, "close?user=b&code=4401") == 0
        assert await asyncio.to_thread(worker.control, "close?user=a&code=4401") == 1
        async with asyncio.timeout(60):
            assert b"0\r\n" not in await reader.read()
        await until(lambda: script.ended)
        writer.close()

    through(script, check)


def test_counters_and_activity_are_kept():
    async def check(worker, upstream):
        for _ in range(3):
            await worker.get(method="POST", body=b"four")
        stats = await asyncio.to_thread(worker.control, "stats")
        assert stats["requests"] == 3
        assert stats["requests_open"] == 0
        assert (stats["bytes_up"], stats["bytes_down"]) == (12, 6)
        assert stats["noted"] == 3

    through(answers(OK), check)
