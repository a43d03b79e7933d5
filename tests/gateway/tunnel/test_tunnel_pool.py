"""The pool's count of its connections, whatever becomes of one while it is opened."""

import asyncio
import socket

import pytest

from gateway.tunnel import TunnelOptions, pool
from gateway.tunnel.errors import UpstreamError
from gateway.tunnel.pool import Pool
from gateway.ways_in.sockets import UnixWayIn
from state.records.models import Endpoint


class Transport:
    def set_write_buffer_limits(self, _):
        pass

    def abort(self):
        pass

    def is_closing(self):
        return False


def opened_by(monkeypatch, *outcomes):
    """A pool of two whose connections are opened with these outcomes, one after another."""
    made = []
    left = list(outcomes)

    async def open_stream(_endpoint, protocol, **_):
        connection = protocol()
        connection.connection_made(Transport())
        made.append(connection)
        await left.pop(0)(connection)
        return connection

    monkeypatch.setattr(pool, "open_stream", open_stream)
    options = TunnelOptions(per_client=2, pool_wait=0.05)
    return Pool(Endpoint(kind="unix", path="/nowhere"), None, options, size=2), made


async def well(connection):
    """It is open."""


async def refused(connection):
    """It was made, and then it turned out to be another user's socket."""
    asyncio.get_running_loop().call_soon(connection.connection_lost, None)
    raise UpstreamError("refused")


async def lost(connection):
    """It ended before it could be used."""
    connection.connection_lost(None)


@pytest.mark.parametrize("outcome", [refused, lost])
def test_a_connection_that_failed_to_open_is_counted_once(monkeypatch, outcome):
    async def main():
        connections, _ = opened_by(monkeypatch, outcome, outcome, well, well)
        for _ in range(2):
            with pytest.raises(UpstreamError):
                await connections.open("a")
        await asyncio.sleep(0)
        for _ in range(2):
            await connections.open("a")
        with pytest.raises(UpstreamError, match="too many"):
            await connections.open("a")

    asyncio.run(main())


def test_a_connection_that_ended_while_its_receiver_was_woken_is_replaced(monkeypatch):
    async def main():
        connections, made = opened_by(monkeypatch, well, well, well)
        first = await connections.open("a")
        await connections.open("a")
        waiting = asyncio.create_task(connections.open("a"))
        await asyncio.sleep(0)
        connections.release(first)  # it goes to the one that waits
        first.connection_lost(None)
        assert await waiting is made[2]
        assert connections.take("b", retryable=True) is None

    asyncio.run(main())


def test_a_connection_that_is_freed_for_a_request_that_gives_up_goes_to_the_next(monkeypatch):
    async def main():
        connections, _ = opened_by(monkeypatch, well, well)
        first, _second = await connections.open("a"), await connections.open("a")
        waiting = [asyncio.create_task(connections.open(client)) for client in ("b", "c")]
        await asyncio.sleep(0)
        connections.release(first)
        waiting[0].cancel()  # it has the connection already, and does not know it
        assert await waiting[1] is first

    asyncio.run(main())


def test_a_request_that_cannot_be_sent_twice_is_not_sent_on_a_connection_whose_end_has_arrived(tmp_path):
    """The app closed after its answer, and the event loop has not read that yet (RFC 9112 section 9.5)."""

    async def main():
        path = str(tmp_path / "app.sock")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            options = TunnelOptions(ways_in={"unix": UnixWayIn()})
            connections = Pool(Endpoint(kind="unix", path=path), None, options, size=2)
            connection = await connections.open("a")
            app, _ = listener.accept()
            connections.release(connection)
            assert connections.take("a", retryable=False) is connection
            connections.release(connection)
            app.close()
            assert not connection.lost
            assert connections.take("a", retryable=False) is None
            connections.close()

    asyncio.run(main())
