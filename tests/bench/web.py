"""A small HTTP/1.1 client on asyncio with one request per connection, for REST APIs and event streams on loopback."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def json(self) -> Any:
        """Return the decoded JSON body."""
        return json.loads(self.body)


async def _open(
    method: str, url: str, headers: dict[str, str], body: bytes
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, int, list[tuple[str, str]]]:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=2**20)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    fields = {"Host": f"{parts.hostname}:{parts.port}", "Connection": "close", **headers}
    if body or method in ("POST", "PUT", "PATCH"):
        fields = {"Content-Type": "application/json", **fields, "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    writer.write(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + body)
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:] if line)]
    return reader, writer, int(lines[0].split()[1]), pairs


async def _chunks(reader: asyncio.StreamReader, fields: dict[str, str]) -> AsyncIterator[bytes]:
    if fields.get("transfer-encoding", "").lower() == "chunked":
        while size := int((await reader.readline()).partition(b";")[0], 16):
            yield await reader.readexactly(size)
            await reader.readline()
    elif "content-length" in fields:
        yield await reader.readexactly(int(fields["content-length"]))
    else:
        while part := await reader.read(65536):
            yield part


async def request(method: str, url: str, headers: dict[str, str] | None = None, body: bytes = b"") -> Answer:
    """Send one request and return the complete response. Redirects are not followed."""
    reader, writer, status, pairs = await _open(method, url, headers or {}, body)
    try:
        if status in (204, 304) or method == "HEAD":
            return Answer(status, pairs, b"")
        return Answer(status, pairs, b"".join([part async for part in _chunks(reader, dict(pairs))]))
    finally:
        writer.close()


async def events(url: str, headers: dict[str, str]) -> AsyncIterator[dict[str, Any]]:
    """Yield the JSON of each `data:` line of an event stream. A response that is not a stream yields nothing."""
    reader, writer, status, pairs = await _open("GET", url, {**headers, "Accept": "text/event-stream"}, b"")
    try:
        if status != 200:
            return
        text = b""
        async for part in _chunks(reader, dict(pairs)):
            *lines, text = (text + part).split(b"\n")
            for line in lines:
                if line.startswith(b"data:"):
                    yield json.loads(line[5:])
    finally:
        writer.close()
