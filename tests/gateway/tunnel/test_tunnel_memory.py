"""Large bodies in constant memory: the worker process's resident size, measured."""

import asyncio

from tests.gateway.tunnel_harness import Upstream, Worker, parse

SIZE = 100 * 2**20
PIECE = b"x" * 2**16
LIMIT = 16 * 2**20


async def script(reader, writer):
    """Discards what is sent up, and sends SIZE bytes down for a GET, slower than it could."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
            for _ in range(SIZE // len(PIECE)):
                writer.write(PIECE)
                await writer.drain()
        else:
            left = SIZE
            while left:
                left -= len(await reader.read(min(left, 2**18)))
                await asyncio.sleep(0)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")


async def down(worker):
    reader, writer = await worker.connect()
    writer.write(b"GET /user/a/ HTTP/1.1\r\nHost: h\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    left, peak = SIZE, 0
    while left:
        left -= len(await reader.read(2**18))
        peak = max(peak, worker.rss())
    writer.close()
    return peak


async def up(worker):
    reader, writer = await worker.connect()
    writer.write(b"PUT /user/a/ HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % SIZE)
    peak = 0
    for _ in range(SIZE // len(PIECE)):
        writer.write(PIECE)
        await writer.drain()
        peak = max(peak, worker.rss())
    assert parse(await reader.readuntil(b"done"))[0] == 200
    writer.close()
    return peak


def test_100_mb_down_and_up_grow_the_worker_by_less_than_16_mb():
    async def main():
        async with Upstream(script) as upstream:
            with Worker({"/user/a/": upstream.endpoint}) as worker:
                await worker.get("/none")
                before = worker.rss()
                assert await down(worker) - before < LIMIT
                assert await up(worker) - before < LIMIT

    asyncio.run(main())
