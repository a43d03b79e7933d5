"""A minimal HTTP/1.1 connection for the check of the edge.

The check needs what client libraries hide: arbitrary headers, the time at which each part arrives, and a body that is
announced but not sent. Reads responses framed by length, in chunks, or by the connection's end (RFC 9112 section 6).
"""

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import Final

_HEAD_MAX: Final = 65536
Fields = list[tuple[bytes, bytes]]


@dataclass(kw_only=True)
class Response:
    """A response's head. `fields` have names in lower case."""

    status: int
    fields: Fields = field(default_factory=list)

    def value(self, name: bytes) -> str:
        """Return the first field of this name; `""`: there is none."""
        return next((value.decode("latin-1") for key, value in self.fields if key == name), "")


class BadResponseError(Exception):
    """The response is not HTTP/1.1."""


class Connection:
    """`open`, then requests one after another; `close`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(
        cls, host: str, port: int, *, context: ssl.SSLContext | None, server_name: str | None = None
    ) -> "Connection":
        """Connect. Raises OSError (`ssl.SSLError` is one)."""
        name = (server_name or host) if context is not None else None
        reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=name, limit=_HEAD_MAX)
        return cls(reader, writer)

    def close(self) -> None:
        """Close the connection."""
        self.writer.transport.abort()

    async def ask(self, method: str, target: str, fields: Fields, body: bytes = b"") -> Response:
        """Send a request, and read the head of its response. Raises OSError, EOFError and BadResponseError."""
        lines = [f"{method} {target} HTTP/1.1\r\n".encode("latin-1"), *(b"%b: %b\r\n" % pair for pair in fields)]
        self.writer.write(b"".join(lines) + b"\r\n" + body)
        while True:
            response = await self._head()
            if response.status >= 200 or response.status == 101:  # noqa: PLR2004 - RFC 9110 section 15.2
                return response

    async def _head(self) -> Response:
        try:
            raw = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError as error:
            raise BadResponseError("the head is too large") from error
        lines = raw[:-4].split(b"\r\n")
        version, _, rest = lines[0].partition(b" ")
        status = rest[:3]
        if not version.startswith(b"HTTP/1.") or not status.isdigit():
            raise BadResponseError(repr(lines[0][:40]))
        pairs = [line.partition(b":") for line in lines[1:]]
        return Response(status=int(status), fields=[(name.strip().lower(), value.strip()) for name, _, value in pairs])

    async def part(self, response: Response) -> bytes:
        """Return the next part of the body; empty at its end. Raises OSError and EOFError."""
        if response.value(b"transfer-encoding").lower().endswith("chunked"):
            size = int((await self.reader.readline()).split(b";")[0] or b"0", 16)
            return (await self.reader.readexactly(size + 2))[:size]
        return await self.reader.read(65536)

    async def body(self, response: Response) -> bytes:
        """Return the whole body. Raises OSError and EOFError."""
        length = response.value(b"content-length")
        if length.isdecimal():
            return await self.reader.readexactly(int(length))
        parts = []
        while part := await self.part(response):
            parts.append(part)
        return b"".join(parts)
