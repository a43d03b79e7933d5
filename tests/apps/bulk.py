"""A web app for tests of proxies. Arguments: its socket, and a file without which it does not start to listen.

PUT …/upload: the length and SHA-256 of the body. GET …/download?size=N: that many bytes, always the same. GET
…/silence?seconds=N: an answer after that time. GET …/answer?hex=…: those bytes, then the connection ends. Else: the head
of the request.
"""

import asyncio
import hashlib
import json
import random
import re
import sys
from pathlib import Path
from urllib.parse import parse_qs

BLOCK = random.Random(4711).randbytes(1024 * 1024)


async def receive(reader, head):
    """Yield the parts of a body."""
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    if length:
        left = int(length[1])
        while left:
            part = await reader.read(min(left, 262144))
            if not part:
                raise ConnectionError
            left -= len(part)
            yield part
    elif b"\r\ntransfer-encoding: chunked" in head.lower():
        while size := int(await reader.readline(), 16):
            yield (await reader.readexactly(size + 2))[:-2]
        await reader.readline()


async def answer(reader, writer, head):
    path, _, query = head.split(b" ", 2)[1].decode("latin-1").partition("?")
    asked = {name: values[0] for name, values in parse_qs(query).items()}
    verb = path.rsplit("/", 1)[-1]
    digest, length = hashlib.sha256(), 0
    async for part in receive(reader, head):
        digest.update(part)
        length += len(part)
    if verb == "answer":
        writer.write(bytes.fromhex(asked["hex"]))
        raise ConnectionError
    if verb == "download":
        left = int(asked["size"])
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: %d\r\n\r\n" % left)
        while left:
            part = BLOCK[: min(left, len(BLOCK))]
            writer.write(part)
            await writer.drain()
            left -= len(part)
        return
    if verb == "silence":
        await asyncio.sleep(float(asked["seconds"]))
    told = {"head": head.decode("latin-1"), "length": length, "sha256": digest.hexdigest()}
    text = json.dumps(told).encode()
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(text) + text)
    await writer.drain()


async def serve(reader, writer):
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            await answer(reader, writer, head)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()


async def main():
    path, gate = sys.argv[1], Path(sys.argv[2])
    while not gate.exists():
        await asyncio.sleep(0.02)
    server = await asyncio.start_unix_server(serve, path, limit=4 * 1024 * 1024)
    Path(path).chmod(0o600)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
