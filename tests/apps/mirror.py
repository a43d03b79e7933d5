"""A web app for tests that returns requests byte by byte, or sends given bytes. Argument: its socket.

`…?answer=HEX`: sends those bytes and closes. Otherwise JSON: the request's head (latin-1), the length of its body, and
the number of connections so far.
"""

import asyncio
import itertools
import json
import re
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

made = itertools.count(1)


async def serve(reader, writer):
    number = next(made)
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
            body = await reader.readexactly(int(length[1])) if length else b""
            if b"chunked" in head.lower():
                while (line := await reader.readline()) != b"0\r\n":
                    body += (await reader.readexactly(int(line, 16) + 2))[:-2]
                await reader.readline()
            asked = parse_qs(urlsplit(head.split(b" ", 2)[1].decode("latin-1")).query).get("answer")
            if asked:
                writer.write(bytes.fromhex(asked[0]))
                break
            told = json.dumps({"head": head.decode("latin-1"), "length": len(body), "connections": number}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(told))
            writer.write(told)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()


async def main():
    server = await asyncio.start_unix_server(serve, sys.argv[1])
    Path(sys.argv[1]).chmod(0o600)
    await server.serve_forever()


asyncio.run(main())
