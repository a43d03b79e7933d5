"""Sign-in load: each connection signs somebody in, again and again, as a browser does. Runs in .venv-bench.

One argument, JSON: host, port, entry (the path that sends a browser to the provider), cookie (the beginning of the
session cookie's name), connections, people (how many there are), seconds. A round trip is `entry`, answered with a
redirect to the provider, and the way back from there, answered with a session; the provider itself is not asked.
Prints JSON: rate (round trips a second), p50, p99 (seconds).
"""

import asyncio
import itertools
import json
import sys
import time
from urllib.parse import parse_qs, urlencode, urlsplit

import uvloop

JOB = json.loads(sys.argv[1])
NUMBERS = itertools.count()


class Browser:
    """One connection; cookies are forgotten after each round trip."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.cookies = {}

    async def get(self, target):
        """GET; the Location of the redirect that it must be answered with."""
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        self.writer.write(
            f"GET {target} HTTP/1.1\r\nHost: {JOB['host']}:{JOB['port']}\r\nAccept: text/html\r\n"
            f"Sec-Fetch-Mode: navigate\r\n{f'Cookie: {cookie}' if cookie else 'X-None: 1'}\r\n\r\n".encode()
        )
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        location, size, chunked = "", 0, False
        for line in lines[1:]:
            name, _, value = line.partition(":")
            match name.lower():
                case "location":
                    location = value.strip()
                case "content-length":
                    size = int(value)
                case "transfer-encoding":
                    chunked = True
                case "set-cookie":
                    key, _, content = value.strip().partition(";")[0].partition("=")
                    self.cookies[key] = content
        if chunked:
            while count := int(await self.reader.readline(), 16):
                await self.reader.readexactly(count + 2)
            await self.reader.readline()
        body = await self.reader.readexactly(size)
        if " 302 " not in lines[0]:
            raise RuntimeError(f"{target} was answered with {lines[0]} {body[:300]!r}")
        return location

    async def sign_in(self):
        """One round trip."""
        self.cookies = {}
        asked = parse_qs(urlsplit(await self.get(JOB["entry"])).query)
        code = f"s{next(NUMBERS) % JOB['people']:05d}.{asked.get('nonce', [''])[0]}"
        back = urlsplit(asked["redirect_uri"][0]).path
        await self.get(f"{back}?{urlencode({'code': code, 'state': asked['state'][0]})}")
        if not any(name.startswith(JOB["cookie"]) for name in self.cookies):
            raise RuntimeError(f"no session: {self.cookies}")


async def main():
    """Sign in until the time is over, print the figures."""
    deadline = time.perf_counter() + JOB["seconds"]
    took = []

    async def one():
        reader, writer = await asyncio.open_connection(JOB["host"], JOB["port"], limit=2**20)
        browser = Browser(reader, writer)
        while time.perf_counter() < deadline:
            began = time.perf_counter()
            await browser.sign_in()
            took.append(time.perf_counter() - began)
        writer.close()

    began = time.perf_counter()
    try:
        await asyncio.gather(*(one() for _ in range(JOB["connections"])))
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as fault:
        print(json.dumps({"fault": f"{type(fault).__name__}: {fault}"}))
        return
    spent = time.perf_counter() - began
    took.sort()
    print(json.dumps({"rate": len(took) / spent, "p50": took[len(took) // 2], "p99": took[int(len(took) * 0.99)]}))


uvloop.run(main())
