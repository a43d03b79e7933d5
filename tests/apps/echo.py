"""A web app for tests: echoes WebSocket messages and returns HTTP requests. Argument: its socket."""

import asyncio
import http
import json
import sys
from pathlib import Path

from websockets.asyncio.server import unix_serve
from websockets.datastructures import Headers
from websockets.http11 import Response


def answer(_connection, request):
    if request.headers.get("Upgrade", "").lower() == "websocket":
        return None
    body = json.dumps({"path": request.path, "headers": list(request.headers.raw_items())}).encode()
    headers = Headers(
        [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
            ("Set-Cookie", "app=1; Path=/; Domain=example.org"),
            ("Set-Cookie", "towpath-session=stolen; Path=/"),
        ]
    )
    return Response(http.HTTPStatus.OK, "OK", headers, body)


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def main():
    async with unix_serve(echo, sys.argv[1], process_request=answer, max_size=None) as server:
        Path(sys.argv[1]).chmod(0o600)
        await server.serve_forever()


asyncio.run(main())
