"""A provider may send so much and no more, be it ever so good JSON."""

import asyncio
import gzip

import pytest

from gateway.auth.oidc.errors import UnreachableError
from gateway.auth.oidc.protocol import Client

BOUND = 512 * 1024
"""Bytes of an answer."""


def padded(size):
    return b" " * (size - 2) + b"{}"


def chunked(body):
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def got(answer):
    """What the hub's client makes of these bytes."""

    async def main():
        async def serve(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        hub = Client(client_id="hub", client_secret="a secret of 16+", auth_method="basic", timeout=20)
        try:
            return await hub.get(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x")
        finally:
            await hub.close()
            server.close()

    return asyncio.run(main())


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
WAYS = {
    "with its length": lambda size: HEAD + b"Content-Length: %d\r\n\r\n" % size + padded(size),
    "to the end": lambda size: HEAD + b"\r\n" + padded(size),
    "in chunks": lambda size: HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(padded(size)),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_answer_is_read_up_to_its_bound_and_no_further(way):
    assert got(WAYS[way](BOUND)).value == {}
    with pytest.raises(UnreachableError):
        got(WAYS[way](BOUND + 1024))


def test_an_answer_that_grows_when_it_is_unpacked_is_not_believed():
    small = gzip.compress(padded(4 * BOUND))
    assert len(small) < BOUND
    with pytest.raises(UnreachableError):
        got(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(small) + small)
