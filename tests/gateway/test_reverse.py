"""Connections of real starters to gateways: through another worker, another gateway, a proxy, and after failures."""

import asyncio
import base64
import contextlib
import os
import signal
import ssl
import stat

import pytest

from batch.authority import Authority
from gateway.ways_in.reverse import waiting as waiting_module
from state.names import REPORTS_NAME
from state.records.reverse import Holder
from tests.conftest import run, until
from tests.gateway.reverse_node import NodeConnection
from tests.gateway.reverse_rig import OneGateway, serving
from tests.gateway.tunnel_harness import GivenHolders
from tests.gateway.ways_in import ATTEMPT, NAME, Site, dialling, job_of
from tests.ports import free_port

SIZE = 3_000_000


@pytest.fixture(scope="module")
def site():
    site = Site()
    yield site
    site.close()


async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def last_message(reader, writer):
    await reader.readline()
    writer.write(b"x" * SIZE)
    await writer.drain()


async def endless(reader, writer):
    await reader.readline()
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()
        endless.sent += 65536


@contextlib.asynccontextmanager
async def two_gateways(site, script, link):
    """The job's connections wait at the second; the first has none. `link`: how the first reaches it."""
    holders, port, path = GivenHolders(), free_port(), site.socket()
    host = "127.0.0.1" if link == "tls" else ""
    one = await OneGateway(site.data_dir, "one", holders=holders, host=host).start()
    other = await OneGateway(site.data_dir, "other", holders=holders, host=host).start(port)
    if link == "tls":
        other.socket.unlink()  # it is on another host
    try:
        async with serving(path, script):
            with dialling(job_of(site.data_dir, f"http://127.0.0.1:{port}", path)) as dialler:
                yield one, other, holders, dialler
    finally:
        await one.close()
        await other.close()


@pytest.mark.parametrize("link", ["unix", "tls"])
def test_a_stream_goes_through_the_worker_that_holds_the_connection(site, link):
    async def main():
        async with two_gateways(site, echo, link) as (one, _, holders, _dialler):
            stream = await one.open()
            stream.transport.write(b"y" * SIZE)
            await until(lambda: len(stream.data) == SIZE)
            stream.transport.close()
            assert await stream.lost is None
            assert {bool(holder.port) for holder in holders.known[ATTEMPT]} == {link == "tls"}

    run(main())


@pytest.mark.parametrize("link", ["unix", "tls"])
def test_the_end_of_an_app_arrives_behind_its_last_bytes(site, link):
    async def main():
        async with two_gateways(site, last_message, link) as (one, *_):
            stream = await one.open()
            stream.transport.write(b"now\n")
            assert await stream.lost is None
            assert (len(stream.data), stream.ended) == (SIZE, True)

    run(main())


@pytest.mark.parametrize("link", ["unix", "tls"])
def test_a_stream_whose_job_dies_breaks(site, link):
    async def main():
        async with two_gateways(site, echo, link) as (one, _, _, dialler):
            stream = await one.open()
            stream.transport.write(b"hello")
            await until(lambda: stream.data)
            dialler.kill()
            assert isinstance(await stream.lost, OSError)
            assert not stream.ended

    run(main())


@pytest.mark.parametrize("link", ["unix", "tls"])
def test_a_slow_reader_stops_the_app(site, link):
    async def main():
        endless.sent = 0
        async with two_gateways(site, endless, link) as (one, *_):
            stream = await one.open()
            stream.transport.write(b"now\n")
            await until(lambda: stream.data)
            stream.transport.pause_reading()
            before = -1
            while before != endless.sent:
                before = endless.sent
                await asyncio.sleep(0.3)
            assert endless.sent < 64_000_000
            stream.transport.resume_reading()
            await until(lambda: endless.sent > before)
            stream.transport.abort()

    run(main())


def test_the_last_known_workers_are_asked_while_the_store_is_away(site):
    async def main():
        async with two_gateways(site, echo, "unix") as (one, _, holders, _dialler):
            (await one.open()).transport.abort()
            holders.away = True
            stream = await one.open()
            stream.transport.write(b"hello")
            await until(lambda: stream.data == b"hello")

    run(main())


def test_a_worker_that_is_gone_delays_nothing(site):
    async def main():
        async with two_gateways(site, echo, "unix") as (one, _, holders, _dialler):
            await until(lambda: holders.known.get(ATTEMPT))
            gone = Holder(path=str(site.data_dir / "gone.peer"))
            holders.known[ATTEMPT] = {gone: 0.0, **holders.known[ATTEMPT]}
            for _ in range(4):
                stream = await one.open()
                stream.transport.write(b"hello")
                await until(lambda stream=stream: stream.data == b"hello")

    run(main())


def test_a_workers_socket_is_private_and_it_withdraws_at_its_end(site):
    async def main():
        async with two_gateways(site, echo, "unix") as (_, other, holders, _dialler):
            await until(lambda: holders.known.get(ATTEMPT))
            assert stat.S_IMODE(other.socket.stat().st_mode) == 0o600
            await other.close()
            assert not holders.known[ATTEMPT]
            assert not other.waiting.has_room(NAME)

    run(main())


@pytest.mark.parametrize("shown", ["none", "a job's", "of another hub"])
def test_only_gateways_of_this_hub_get_streams_of_another_gateway(site, tmp_path, shown):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(site.data_dir / "tls" / "authority.pem")
    if shown == "a job's":
        passport = Authority.load(site.data_dir).passport(ATTEMPT)
        (tmp_path / "job.pem").write_text(passport.certificate + passport.key)
        context.load_cert_chain(tmp_path / "job.pem")
    elif shown == "of another hub":
        other = Site()
        context.load_cert_chain(other.certificate)
        other.close()

    async def main():
        async with two_gateways(site, echo, "tls") as (_, _other, holders, _dialler):
            (holder,) = await until(lambda: holders.known.get(ATTEMPT))
            with pytest.raises((OSError, asyncio.IncompleteReadError)):
                await answer_of(holder, context)

    run(main())


async def answer_of(holder, context):
    """The answer of a gateway to the question for a stream."""
    reader, writer = await asyncio.open_connection(holder.host, holder.port, ssl=context, server_hostname=REPORTS_NAME)
    try:
        writer.write(NAME.encode() + b"\n")
        return await reader.readexactly(1)
    finally:
        writer.transport.abort()


# One gateway


@contextlib.asynccontextmanager
async def one_gateway(site, *, tls=False, script=echo, **job):
    port, path = free_port(), site.socket()
    gateway = await OneGateway(site.data_dir, "alone").start(port, tls=tls)
    try:
        async with serving(path, script):
            url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
            with dialling(job_of(site.data_dir, url, path, **job)) as dialler:
                yield gateway, port, dialler
    finally:
        await gateway.close()


async def echoed(gateway, size=5):
    stream = await gateway.open()
    stream.transport.write(b"z" * size)
    await until(lambda: len(stream.data) == size)
    stream.transport.close()


def test_https_carries_large_bodies_both_ways(site):
    async def main():
        async with one_gateway(site, tls=True) as (gateway, *_):
            await echoed(gateway, SIZE)

    run(main())


def test_the_nodes_proxy_is_used_with_its_password(site):
    heads = []

    async def proxy(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        heads.append(head)
        host, port = head.split()[1].decode().split(":")
        to_reader, to_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(echo_to(reader, to_writer), echo_to(to_reader, writer))

    async def echo_to(reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def main():
        port = free_port()
        server = await asyncio.start_server(proxy, "127.0.0.1", port)
        environment = {"https_proxy": f"http://ann:secret@127.0.0.1:{port}"}
        async with one_gateway(site, tls=True, environment=environment) as (gateway, hub_port, _):
            await echoed(gateway, SIZE)
            assert heads[0].startswith(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n" % hub_port)
            assert b"Basic " + base64.b64encode(b"ann:secret") in heads[0]
            assert not any(b"token" in head for head in heads)
        server.close()

    run(main())


def test_a_job_connects_again_when_its_gateway_is_replaced(site):
    async def main():
        async with one_gateway(site) as (gateway, port, _):
            await echoed(gateway)
            await gateway.close()
            replacement = await OneGateway(site.data_dir, "next").start(port)
            try:
                await echoed(replacement)
            finally:
                await replacement.close()

    run(main())


def test_more_connections_wait_once_the_app_is_used(site):
    def count(gateway):
        return len(gateway.waiting._streams.get(NAME, ()))

    async def main():
        async with one_gateway(site) as (gateway, *_):
            await until(lambda: count(gateway) == 2)
            await asyncio.gather(*(echoed(gateway) for _ in range(40)))
            await until(lambda: count(gateway) == 8)

    run(main())


def test_a_route_that_changes_closes_connections_of_other_attempts_alone(site):
    async def main():
        async with one_gateway(site) as (gateway, _, dialler):
            await until(gateway.waiting.names)
            (stream, *_), prefix = list(gateway.waiting._streams[NAME]), "/user/a/"
            gateway.waiting.drop(prefix, keep=NAME)
            gateway.waiting.drop("/user/b/")
            assert stream.waits
            os.kill(dialler.pid, signal.SIGSTOP)
            gateway.waiting.drop(prefix)
            await until(lambda: not gateway.waiting.names())
            os.kill(dialler.pid, signal.SIGCONT)
            await until(gateway.waiting.names)  # this attempt is still current, so it connects again

    run(main())


def test_a_node_that_does_not_prove_itself_is_dropped(site, monkeypatch):
    monkeypatch.setattr(waiting_module, "HANDSHAKE_SECONDS", 0.1)

    async def main():
        port = free_port()
        gateway = await OneGateway(site.data_dir, "strict").start(port)
        node = await asyncio.to_thread(NodeConnection, job_of(site.data_dir, f"http://127.0.0.1:{port}", "/nowhere"))
        assert await asyncio.to_thread(node.is_closed)
        node.close()
        assert not gateway.waiting._streams
        await gateway.close()

    run(main())


def test_a_node_that_falls_silent_is_dropped(site, monkeypatch):
    monkeypatch.setattr(waiting_module, "HANDSHAKE_SECONDS", 0.2)
    monkeypatch.setattr(waiting_module, "SILENT_SECONDS", 0.1)

    async def main():
        port = free_port()
        gateway = await OneGateway(site.data_dir, "strict").start(port)
        job = job_of(site.data_dir, f"http://127.0.0.1:{port}", "/nowhere")
        node = await asyncio.to_thread(lambda: NodeConnection(job).prove())
        assert await asyncio.to_thread(node.is_closed)
        node.close()
        await gateway.close()

    run(main())
