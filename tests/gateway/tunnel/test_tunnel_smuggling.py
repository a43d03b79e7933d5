"""Two parsers must never disagree: hostile heads from clients and from apps, on raw sockets."""

import asyncio

import pytest

from tests.gateway.tunnel_harness import Upstream, Worker, answers, parse, read_request

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SMUGGLED = b"GET /user/a/smuggled HTTP/1.1\r\nHost: h\r\n\r\n"

REQUESTS = {
    "CL.TE": b"POST /user/a/ HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "CL.TE long": b"POST /user/a/ HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    % (5 + len(SMUGGLED))
    + SMUGGLED,
    "TE.CL": b"POST /user/a/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n%x\r\n"
    % len(SMUGGLED)
    + SMUGGLED
    + b"\r\n0\r\n\r\n",
    "obs-fold": b"POST /user/a/ HTTP/1.1\r\nHost: h\r\nX: a\r\n Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "folded TE": b"POST /user/a/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST /user/a/ HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\nhello",
    "listed lengths": b"POST /user/a/ HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 50\r\n\r\nhello",
    "signed length": b"POST /user/a/ HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nhello",
    "xchunked": b"POST /user/a/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked, identity": b"POST /user/a/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "two codings": b"POST /user/a/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "space before colon": b"POST /user/a/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "tab coding": b"POST /user/a/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\x0bchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "NUL in value": b"GET /user/a/ HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n",
    "NUL in name": b"GET /user/a/ HTTP/1.1\r\nHost: h\r\nX\0: a\r\n\r\n",
    "CR in value": b"GET /user/a/ HTTP/1.1\r\nHost: h\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n",
    "bare LF": b"POST /user/a/ HTTP/1.1\nHost: h\nX: a\nContent-Length: 0\n\n",
    "bare LF inside": b"POST /user/a/ HTTP/1.1\r\nHost: h\r\nX: a\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "absolute form": b"GET http://evil/user/a/ HTTP/1.1\r\nHost: h\r\n\r\n",
    "two hosts": b"GET /user/a/ HTTP/1.1\r\nHost: h\r\nHost: evil\r\n\r\n",
    "connection names length": b"POST /user/a/ HTTP/1.1\r\nHost: h\r\nConnection: Content-Length\r\nContent-Length: 5\r\n\r\nhello",
    "space in target": b"GET /user/a/ x HTTP/1.1\r\nHost: h\r\n\r\n",
    "HTTP/1.0 chunked": b"POST /user/a/ HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bad chunk size": b"POST /user/a/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
}


def test_no_head_makes_the_app_see_a_request_that_the_worker_did_not():
    """For each head: what reaches the app is a series of whole, unambiguous requests, none of them smuggled."""

    async def script(reader, writer):
        raw = bytearray()
        script.raw.append(raw)
        while data := await reader.read(65536):
            raw += data
            if raw.endswith((b"\r\n\r\n", b"hello", b"G")):
                writer.write(OK)

    script.raw = []

    async def main():
        async with Upstream(script) as upstream:
            with Worker({"/user/a/": upstream.endpoint}) as worker:
                for name, data in REQUESTS.items():
                    script.raw.clear()
                    reader, writer = await worker.connect()
                    writer.write(data)
                    writer.write_eof()
                    async with asyncio.timeout(60):
                        answer = await reader.read()
                    writer.close()
                    for raw in map(bytes, script.raw):
                        check_one(name, raw, answer)

    asyncio.run(main())


def check_one(name, raw, answer):
    """`raw` is what one connection to the app carried."""
    if not raw:
        return
    at = 0
    while at < len(raw):
        end = raw.index(b"\r\n\r\n", at) + 4
        head = raw[at:end].lower()
        lengths = [line for line in head.split(b"\r\n") if line.startswith(b"content-length")]
        codings = [line for line in head.split(b"\r\n") if line.startswith(b"transfer-encoding")]
        assert len(lengths) + len(codings) <= 1, (name, raw)
        assert b"\n" not in head.replace(b"\r\n", b""), (name, raw)
        assert b"\r" not in head.replace(b"\r\n", b""), (name, raw)
        assert b"\0" not in head, (name, raw)
        assert head.count(b"\r\nhost:") == 1, (name, raw)
        assert b"smuggled http" not in head, (name, raw)
        at = end
        if lengths:
            at += int(lengths[0].split(b":")[1])
        elif codings:
            while True:
                line = raw.find(b"\r\n", at)
                if line < 0:
                    return  # broken off: no whole request, so nothing that could be followed by another
                size = int(raw[at:line], 16)
                at = line + 2 + size + 2
                if size == 0:
                    break
    assert at == len(raw) or not answer.startswith(b"HTTP/1.1 2"), (name, raw)


RESPONSES = {
    "length and chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "chunked and length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 30\r\n\r\nabc",
    "the same length twice": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "listed lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc",
    "odd coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "gzip coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "101 unasked": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "NUL in value": b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
    "CR in value": b"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
    "name with a space": b"HTTP/1.1 200 OK\r\nX Y: a\r\nContent-Length: 0\r\n\r\n",
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "no status": b"HTTP/1.1 \r\n\r\n",
    "status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "endless head": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 60000,
}


@pytest.mark.parametrize("name", list(RESPONSES))
def test_a_response_that_two_parsers_could_read_differently_is_a_502(name):
    async def main():
        async with Upstream(answers(RESPONSES[name])) as upstream:
            with Worker({"/user/a/": upstream.endpoint}) as worker:
                status, fields, body = await worker.get()
                assert status == 502, (status, fields, body)
                assert b"bad-response" in body
                assert "set-cookie" not in fields

    asyncio.run(main())


def test_bytes_behind_a_response_never_become_the_next_response():
    """A second response sent ahead must not be the answer to the next request, of any client."""
    script = answers(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", OK)

    async def main():
        async with Upstream(script) as upstream:
            with Worker({"/user/a/": upstream.endpoint}) as worker:
                for _ in range(4):
                    assert (await worker.get())[2] == b"ok"
                assert upstream.connections == 4

    asyncio.run(main())


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_body_where_none_may_be_never_becomes_the_next_response(method):
    status = b"200 OK" if method == "HEAD" else b"304 Not Modified"
    poison = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    script = answers(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (status, len(poison)) + poison)

    async def main():
        async with Upstream(script) as upstream:
            with Worker({"/user/a/": upstream.endpoint}) as worker:
                for _ in range(3):
                    assert (await worker.get(method=method))[2] == b""
                assert upstream.connections == 3

    asyncio.run(main())


@pytest.mark.parametrize("framing", [b"Content-Length: 44", b"Transfer-Encoding: chunked"])
@pytest.mark.parametrize("status", [b"200 OK", b"304 Not Modified"], ids=["HEAD", "GET"])
def test_a_body_that_arrives_late_where_none_may_be_never_becomes_the_next_response(status, framing):
    """The app sends it when the connection is in use again: then the gateway cannot tell it from an answer."""

    async def script(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 %b\r\n%b\r\n\r\n" % (status, framing))
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")

    async def main():
        async with Upstream(script) as upstream:
            with Worker({"/user/a/": upstream.endpoint}) as worker:
                for _ in range(3):
                    told = await worker.get(method="HEAD" if status.startswith(b"200") else "GET")
                    assert (told[0], told[2]) == (int(status[:3]), b"")
                assert upstream.connections == 3

    asyncio.run(main())


def test_requests_in_a_row_on_one_client_connection_get_their_own_answers():
    async def script(reader, writer):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            target = head.split(b" ")[1]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(target) + target)

    async def main():
        async with Upstream(script) as upstream:
            with Worker({"/user/a/": upstream.endpoint}) as worker:
                data = b"".join(b"GET /user/a/%d HTTP/1.1\r\nHost: h\r\n\r\n" % number for number in range(20))
                raw = await worker.ask(data + b"GET /user/a/end HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
                bodies = []
                for part in raw.split(b"HTTP/1.1 ")[1:]:
                    bodies.append(parse(b"HTTP/1.1 " + part)[2])
                assert bodies == [b"/user/a/%d" % number for number in range(20)] + [b"/user/a/end"]

    asyncio.run(main())
