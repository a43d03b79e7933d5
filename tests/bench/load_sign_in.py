"""Sign-in load: each connection signs users in repeatedly, as a browser does. Runs in .venv-bench.

One argument, JSON: host, port, entry (the path that sends a browser to the provider), cookie (the beginning of the
session cookie's name), connections, users (their number), seconds. A round trip is `entry`, answered with a
redirect to the provider, and the redirect back, answered with a session. The provider itself is not contacted.
Prints JSON: rate (round trips a second), p50, p99 (seconds).
"""

import asyncio
import itertools
import json
import re
import sys
import time
from urllib.parse import unquote, urlsplit

import uvloop

JOB = json.loads(sys.argv[1])
NUMBERS = itertools.count()
REST = f" HTTP/1.1\r\nHost: {JOB['host']}:{JOB['port']}\r\nAccept: text/html\r\nSec-Fetch-Mode: navigate\r\n"
STATE, NONCE, BACK = (re.compile(rf"[?&]{name}=([^&]+)") for name in ("state", "nonce", "redirect_uri"))
FIELD = re.compile(rb"\r\n(location|set-cookie|content-length|transfer-encoding): *([^\r]*)", re.IGNORECASE)


class Browser(asyncio.Protocol):
    """One connection. Its cookies are discarded after each round trip."""

    def __init__(self):
        self.cookies = {}
        self.data = b""
        self.answer = None

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, _):
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(EOFError("the connection was closed"))

    def data_received(self, data):
        self.data += data
        end = self.data.find(b"\r\n\r\n")
        if end < 0 or self.answer is None or self.answer.done():
            return
        head = self.data[:end]
        location, size, chunked = b"", 0, False
        for name, value in FIELD.findall(head):
            match name.lower():
                case b"location":
                    location = value
                case b"content-length":
                    size = int(value)
                case b"transfer-encoding":
                    chunked = True
                case _:
                    key, _, content = value.partition(b";")[0].partition(b"=")
                    self.cookies[key.decode()] = content.decode()
        if (chunked and not self.data.endswith(b"0\r\n\r\n")) or len(self.data) < end + 4 + size:
            return
        body, self.data = self.data[end + 4 :], b""
        if b" 302 " in head[:13]:
            self.answer.set_result(location.decode())
        else:
            self.answer.set_exception(RuntimeError(f"answered with {head[:60]!r} {body[:300]!r}"))

    async def get(self, target):
        """Send a GET, and return the Location of the redirect, which is required."""
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if self.transport.is_closing():
            raise EOFError("the connection was closed")
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(f"GET {target}{REST}{f'Cookie: {cookie}' if cookie else 'X-None: 1'}\r\n\r\n".encode())
        return await self.answer

    async def sign_in(self):
        """Do one round trip. `state` is returned unchanged, because it is already quoted for a query."""
        self.cookies = {}
        asked = await self.get(JOB["entry"])
        nonce = NONCE.search(asked)
        code = f"s{next(NUMBERS) % JOB['users']:05d}.{nonce[1] if nonce else ''}"
        back = urlsplit(unquote(BACK.search(asked)[1])).path
        await self.get(f"{back}?code={code}&state={STATE.search(asked)[1]}")
        if not any(name.startswith(JOB["cookie"]) for name in self.cookies):
            raise RuntimeError(f"no session: {self.cookies}")


async def main():
    """Sign in until the time is over, and print the figures."""
    loop = asyncio.get_running_loop()
    deadline = time.perf_counter() + JOB["seconds"]
    took = []

    async def one():
        transport, browser = await loop.create_connection(Browser, JOB["host"], JOB["port"])
        while time.perf_counter() < deadline:
            began = time.perf_counter()
            await browser.sign_in()
            took.append(time.perf_counter() - began)
        transport.close()

    began = time.perf_counter()
    try:
        await asyncio.gather(*(one() for _ in range(JOB["connections"])))
    except (RuntimeError, OSError, EOFError, ValueError, TypeError) as fault:
        print(json.dumps({"fault": f"{type(fault).__name__}: {fault}"}))
        return
    spent = time.perf_counter() - began
    took.sort()
    print(json.dumps({"rate": len(took) / spent, "p50": took[len(took) // 2], "p99": took[int(len(took) * 0.99)]}))


uvloop.run(main())
