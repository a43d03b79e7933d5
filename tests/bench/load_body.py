"""Body load: each connection sends or fetches bodies repeatedly. Runs in .venv-bench.

One argument, JSON: host, port, path, headers (list of pairs), connections, size, seconds, direction (`down`, `up`).
Prints JSON: rate (bytes/s) of all bodies begun in the given time. Each connection transfers at least one body.
"""

import asyncio
import json
import sys
import time

import uvloop

JOB = json.loads(sys.argv[1])
SIZE = JOB["size"]
UP = JOB["direction"] == "up"
HEAD = "".join(f"{name}: {value}\r\n" for name, value in JOB["headers"])
if UP:
    REQUEST = (
        f"POST {JOB['path']} HTTP/1.1\r\nHost: {JOB['host']}:{JOB['port']}\r\nContent-Length: {SIZE}\r\n{HEAD}\r\n"
    )
else:
    REQUEST = f"GET {JOB['path']} HTTP/1.1\r\nHost: {JOB['host']}:{JOB['port']}\r\n{HEAD}\r\n"
CHUNK = memoryview(bytes(256 * 1024))


class Client(asyncio.BufferedProtocol):
    """One connection. `done` is set when it has finished."""

    def __init__(self, deadline):
        self.deadline = deadline
        self.buffer = bytearray(256 * 1024)
        self.view = memoryview(self.buffer)
        self.done = asyncio.get_running_loop().create_future()
        self.bodies = 0
        self.left = 0  # left of the request's body
        self.paused = self.sending = False

    def connection_made(self, transport):
        self.transport = transport
        transport.set_write_buffer_limits(high=512 * 1024)
        self.begin()

    def begin(self):
        self.head = b""
        self.missing = None  # left of the response's body
        self.transport.write(REQUEST.encode())
        self.left = SIZE if UP else 0
        self.pump()

    def pause_writing(self):
        self.paused = True

    def resume_writing(self):
        self.paused = False
        self.pump()

    def pump(self):
        if self.sending:
            return
        self.sending = True
        while self.left > 0 and not self.paused:
            count = min(self.left, len(CHUNK))
            self.left -= count
            self.transport.write(CHUNK[:count])
        self.sending = False

    def get_buffer(self, _hint):
        return self.view

    def buffer_updated(self, count):
        if self.missing is None:
            self.head += bytes(self.view[:count])
            end = self.head.find(b"\r\n\r\n")
            if end < 0:
                return
            head, count = self.head[:end], len(self.head) - end - 4
            line, *fields = head.split(b"\r\n")
            named = dict(field.lower().split(b":", 1) for field in fields)
            if not line.startswith(b"HTTP/1.1 200") or b"content-length" not in named:
                self.fail(head.decode("latin-1")[:200])
                return
            self.missing = int(named[b"content-length"])
            if not UP and self.missing != SIZE:
                self.fail(f"a body of {self.missing} bytes")
                return
        self.missing -= count
        if self.missing > 0:
            return
        if UP and b'"bytes":%d}' % SIZE not in bytes(self.view[:4096]):
            self.fail("the app did not get all bytes")
            return
        self.bodies += 1
        if time.perf_counter() < self.deadline:
            self.begin()
        elif not self.done.done():
            self.done.set_result(None)

    def fail(self, why):
        if not self.done.done():
            self.done.set_exception(RuntimeError(why))

    def connection_lost(self, exc):
        self.fail(f"connection lost: {exc}")


async def main():
    """Transfer bodies until the time is over, and print the rate."""
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    clients = []
    for _ in range(JOB["connections"]):
        _, client = await loop.create_connection(lambda: Client(began + JOB["seconds"]), JOB["host"], JOB["port"])
        clients.append(client)
    try:
        await asyncio.gather(*(client.done for client in clients))
    except RuntimeError as fault:
        print(json.dumps({"fault": str(fault)}))
        return
    took = time.perf_counter() - began
    print(json.dumps({"rate": sum(client.bodies for client in clients) * SIZE / took}))
    for client in clients:
        client.transport.abort()


uvloop.run(main())
