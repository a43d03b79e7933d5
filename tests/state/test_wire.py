"""The shared connection: each caller gets its own replies, whatever happens to others and to the bytes."""

import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.errors import StateUnavailableError
from state.redis.client import Redis
from state.redis.connection import Address, Line
from state.redis.server import SingleServer
from tests.conftest import run


def at(address):
    """Return a finder that always returns this address."""

    async def find():
        return address

    return find


@contextlib.asynccontextmanager
async def server(answer):
    """Run a test server with `answer(reader, writer)`; yield its address."""

    serving = set()

    async def serve(reader, writer):
        serving.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, EOFError, ValueError):
            await answer(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        yield Address(host="127.0.0.1", port=listener.sockets[0].getsockname()[1])
        await asyncio.gather(*serving)


async def read_word(reader):
    """Return the last argument of the next command."""
    count = int((await reader.readline())[1:])
    word = b""
    for _ in range(count):
        size = int((await reader.readline())[1:])
        word = (await reader.readexactly(size + 2))[:-2]
    return word


async def echo(reader, writer):
    while True:
        word = await read_word(reader)
        writer.write(b"$%d\r\n%b\r\n" % (len(word), word))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=1, max_size=30), st.integers(1, 7))
def test_each_caller_gets_its_own_replies_when_others_leave_and_bytes_arrive_in_pieces(calls, piece):
    async def in_pieces(reader, writer):
        while True:
            word = await read_word(reader)
            reply = b"$%d\r\n%b\r\n" % (len(word), word)
            for at in range(0, len(reply), piece):
                writer.write(reply[at : at + piece])
                await asyncio.sleep(0)

    async def main():
        async with server(in_pieces) as address:
            line = await Line.open(address)
            waiting = []
            for number, (size, leaves) in enumerate(calls):
                future = line.send([("ECHO", f"{number}.{part}") for part in range(size)])
                if leaves:
                    future.cancel()
                else:
                    waiting.append((future, [f"{number}.{part}".encode() for part in range(size)]))
            for future, wanted in waiting:
                assert await future == wanted
            assert (await line.send([("ECHO", "end")])) == [b"end"]
            assert line.quiet
            line.close()

    run(main())


def test_a_lost_connection_fails_waiting_callers_and_the_next_call_reconnects():
    async def once(reader, writer):
        for _ in range(3):
            word = await read_word(reader)
            writer.write(b"$%d\r\n%b\r\n" % (len(word), word))

    async def main():
        async with server(once) as address:
            redis = Redis(SingleServer(at(address)))
            assert await redis.call("ECHO", "a") == b"a"  # the PING at the start was the first of three
            results = await asyncio.gather(*[redis.call("ECHO", word) for word in "bcd"], return_exceptions=True)
            assert results[0] == b"b"
            assert all(isinstance(result, StateUnavailableError) for result in results[1:])
            assert redis.losses == 0
            assert await redis.call("ECHO", "e") == b"e"
            assert redis.losses == 1
            await redis.close()
            with pytest.raises(StateUnavailableError):
                await redis.call("ECHO", "f")

    run(main())


def test_callers_that_find_the_connection_lost_open_one_together():
    opened = []

    async def counted(reader, writer):
        opened.append(1)
        await echo(reader, writer)

    async def main():
        async with server(counted) as address:
            redis = Redis(SingleServer(at(address)))
            assert await asyncio.gather(*[redis.call("ECHO", f"{n}") for n in range(50)]) == [
                f"{n}".encode() for n in range(50)
            ]
            assert len(opened) == 1
            await redis.close()

    run(main())


@pytest.mark.parametrize(
    "greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\xff\x00", b"+OK\r\n+OK\r\n+more\r\n", b""]
)
def test_a_server_that_does_not_speak_redis_is_reported(greeting):
    async def rude(reader, writer):
        await reader.read(100)
        writer.write(greeting)

    async def main():
        async with server(rude) as address:
            redis = Redis(SingleServer(at(address)))
            with pytest.raises(StateUnavailableError):
                await redis.pipeline([("GET", "a"), ("GET", "b")])
            await redis.close()

    run(main())


def test_a_silent_server_is_given_up():
    async def silent(reader, writer):
        await read_word(reader)
        writer.write(b"+PONG\r\n")
        await reader.read()

    async def main():
        async with server(silent) as address:
            line = await Line.open(address, patience=0.05)
            with pytest.raises(ConnectionAbortedError):
                await line.send([("GET", "a")])
            assert line.lost is not None
            with pytest.raises(ConnectionResetError):
                await line.send([("GET", "a")])

    run(main())
