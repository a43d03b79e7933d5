"""Connections of jobs to the hub through every edge, with the configuration that `towpath edge` writes."""

from types import SimpleNamespace

import pytest

from tests.conftest import free_port, run, until
from tests.edge.rig import Edge
from tests.edge.test_edge_bytes import NAMES
from tests.gateway.reverse_rig import OneGateway, serving
from tests.gateway.ways_in import Site, dialling, job_of

SIZE = 3_000_000


async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


@pytest.fixture(scope="module")
def site():
    site = Site()
    yield site
    site.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_job_is_reached_through_the_edge_and_again_after_its_restart(site, certificate, tmp_path, name):
    hub = SimpleNamespace(port=free_port(), public_port=free_port(), base="/")
    edge = Edge(name, tmp_path / "edge", hub, certificate)
    path = site.socket()
    job = job_of(site.data_dir, edge.origin, path)
    job["passport"]["authority"] += certificate.authority.read_text()

    async def echoed(gateway):
        stream = await gateway.open()
        stream.transport.write(b"z" * SIZE)
        await until(lambda: len(stream.data) == SIZE)
        stream.transport.close()

    async def main():
        gateway = await OneGateway(site.data_dir, name).start(hub.port)
        try:
            async with serving(path, echo):
                with dialling(job):
                    await echoed(gateway)
                    edge.proxy.stop()
                    await until(lambda: not gateway.waiting.names())
                    edge.proxy.start()
                    await echoed(gateway)
        finally:
            await gateway.close()

    try:
        run(main())
    finally:
        edge.stop()
