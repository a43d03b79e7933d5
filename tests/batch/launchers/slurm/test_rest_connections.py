"""The connections to slurmrestd: kept, limited, closed with the client, and what is repeated when one of them breaks."""

import asyncio
import contextlib
import json
import os

import pytest

from batch.contract import LauncherError
from batch.launchers.slurm.clients import rest_http
from batch.launchers.slurm.clients.rest_http import RestHttp
from tests.conftest import run, until

HEADERS = {"X-SLURM-USER-NAME": "alice", "X-SLURM-USER-TOKEN": "a.b.c"}
BREAK = None
"""A reply: the connection is closed without a response."""


def reply(content, status="200 OK", *, more=""):
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


class Restd:
    """An HTTP/1.1 server with persistent connections. `replies`: by the number of the request; the last one for all."""

    def __init__(self, *replies, closes=False):
        self.replies, self.closes = replies, closes
        self.requests, self.connections, self.ended = [], 0, 0
        self.url = ""

    @contextlib.asynccontextmanager
    async def serving(self, socket_path=""):
        if socket_path:
            server, self.url = await asyncio.start_unix_server(self._serve, socket_path), f"unix://{socket_path}"
        else:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        http = RestHttp(self.url, seconds=20)
        try:
            yield http
        finally:
            await http.close()
            server.close()
            await until(lambda: self.ended == self.connections)

    async def _serve(self, reader, writer):
        self.connections += 1
        number = self.connections
        try:
            while await self._one(number, reader, writer) and not self.closes:
                pass
        finally:
            writer.close()
            self.ended += 1

    async def _one(self, number, reader, writer):
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.split("\r\n")[:-2]
            headers = dict(line.lower().split(": ", 1) for line in lines)
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.requests.append((number, first.split()[0], headers, body))
            answer = self.replies[min(len(self.requests), len(self.replies)) - 1]
            if answer is BREAK:
                return False
            writer.write(answer)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        return True

    @property
    def methods(self):
        return [method for _, method, _, _ in self.requests]


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_requests_one_after_the_other_use_one_connection(kind, short_folder):
    restd = Restd(reply({"jobs": []}))

    async def body():
        async with restd.serving(str(short_folder / f"restd-{os.urandom(3).hex()}") if kind == "unix" else "") as http:
            for method, content in (("GET", None), ("POST", {"a": 1}), ("DELETE", None), ("GET", None)):
                assert await http.ask(method, "/slurm/v0.0.40/jobs", HEADERS, content) == (200, {"jobs": []})

    run(body())
    assert [number for number, *_ in restd.requests] == [1, 1, 1, 1]
    _, _, headers, content = restd.requests[1]
    assert (headers["content-type"], content) == ("application/json", b'{"a": 1}')
    assert headers["accept-encoding"] == "identity"
    assert headers["x-slurm-user-token"] == "a.b.c"


@pytest.mark.parametrize("more", ["", "Connection: close\r\n"])
def test_a_server_may_close_the_connection_after_each_response(more):
    restd = Restd(reply({"jobs": []}, more=more), closes=True)

    async def body():
        async with restd.serving() as http:
            for _ in range(3):
                assert await http.ask("GET", "/jobs", HEADERS) == (200, {"jobs": []})

    run(body())
    assert (restd.connections, restd.methods) == (3, ["GET"] * 3)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_request_that_may_be_repeated_survives_a_dead_kept_connection(method):
    restd = Restd(reply({}), BREAK, reply({"jobs": []}))

    async def body():
        async with restd.serving() as http:
            await http.ask("GET", "/jobs", HEADERS)
            assert await http.ask(method, "/jobs", HEADERS, {"jobs": ["9"]}) == (200, {"jobs": []})

    run(body())
    assert [(number, sent) for number, sent, *_ in restd.requests] == [(1, "GET"), (1, method), (2, method)]
    assert restd.requests[1][3] == restd.requests[2][3] == b'{"jobs": ["9"]}'


@pytest.mark.parametrize(("method", "times"), [("GET", 2), ("DELETE", 2), ("POST", 1)])
def test_a_request_is_repeated_once_and_a_submit_never(method, times):
    restd = Restd(reply({}), BREAK)

    async def body():
        async with restd.serving() as http:
            await http.ask("GET", "/jobs", HEADERS)
            with pytest.raises(LauncherError, match="does not answer") as caught:
                await http.ask(method, "/jobs", HEADERS, {})
            assert (caught.value.transient, caught.value.code) == (True, "no-answer")

    run(body())
    assert restd.methods == ["GET", *[method] * times]


def test_a_request_that_is_cancelled_or_too_slow_closes_its_connection():
    unfinished = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"
    restd = Restd(b"", unfinished)

    async def body():
        async with restd.serving() as http:
            for ended in (1, 2):
                request = asyncio.create_task(http.ask("GET", "/jobs", HEADERS))
                await until(lambda ended=ended: len(restd.requests) == ended)
                request.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await request
                await until(lambda ended=ended: restd.ended == ended)
            slow = RestHttp(restd.url, seconds=0.05)
            with pytest.raises(LauncherError, match="has not answered within") as caught:
                await slow.ask("GET", "/jobs", HEADERS)
            assert caught.value.transient
            await until(lambda: restd.ended == restd.connections)
            await slow.close()

    run(body())


def test_redirects_cookies_and_proxies_of_the_environment_are_not_used(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    restd = Restd(reply({}, "307 Temporary Redirect", more="Location: /other\r\nSet-Cookie: a=b; Path=/\r\n"))

    async def body():
        async with restd.serving() as http:
            assert await http.ask("GET", "/jobs", HEADERS) == (307, {})
            assert await http.ask("GET", "/jobs", HEADERS) == (307, {})

    run(body())
    assert restd.connections == 1
    assert [headers.get("cookie") for _, _, headers, _ in restd.requests] == [None, None]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_response_that_is_too_long_is_given_up_and_its_connection_closed(monkeypatch, chunked):
    monkeypatch.setattr(rest_http, "RESPONSE_MAX", 1000)
    endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"3e9\r\n" + b" " * 1001 + b"\r\n"
    restd = Restd(reply(b" " * 998 + b"{}"), endless if chunked else reply(b" " * 1001), reply({"jobs": []}))

    async def body():
        async with restd.serving() as http:
            assert await http.ask("GET", "/jobs", HEADERS) == (200, {})
            with pytest.raises(LauncherError, match="more than 1000 bytes") as caught:
                await http.ask("GET", "/jobs", HEADERS)
            assert caught.value.transient
            assert await http.ask("GET", "/jobs", HEADERS) == (200, {"jobs": []})

    run(body())


@pytest.mark.parametrize(
    "broken", [b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: " + b"a" * 70_000 + b"\r\n\r\n"]
)
def test_a_response_that_is_not_http_is_a_transient_error(broken):
    restd = Restd(broken)

    async def body():
        async with restd.serving() as http:
            with pytest.raises(LauncherError, match="does not answer") as caught:
                await http.ask("GET", "/jobs", HEADERS)
            assert (caught.value.transient, caught.value.code) == (True, "no-answer")

    run(body())


def test_close_closes_the_connections_and_a_later_request_opens_one():
    restd = Restd(reply({}))

    async def body():
        async with restd.serving() as http:
            await http.close()  # nothing is open yet
            await http.ask("GET", "/jobs", HEADERS)
            assert restd.ended == 0
            await http.close()
            await http.close()
            await until(lambda: restd.ended == 1)
            await http.ask("GET", "/jobs", HEADERS)

    run(body())
    assert restd.connections == 2
