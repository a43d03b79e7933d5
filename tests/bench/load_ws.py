"""WebSocket load: each connection sends a message, waits for its echo, and repeats. Runs in .venv-bench.

One argument, JSON: url, headers (list of pairs), connections, size, seconds.
Prints JSON: rate (messages/s) and p50, p99 (seconds).
"""

import asyncio
import json
import sys
import time

import picows
import uvloop

JOB = json.loads(sys.argv[1])
MESSAGE = b"x" * JOB["size"]
LATENCIES: list[float] = []
FAULTS: list[str] = []


class Client(picows.WSListener):
    """One connection."""

    echoes = 0  # shared by all connections
    measuring = False
    closing = False

    def on_ws_connected(self, transport):
        self.transport = transport
        self.got = 0

    def send(self):
        self.got = 0
        self.began = time.perf_counter()
        self.transport.send(picows.WSMsgType.BINARY, MESSAGE)

    def on_ws_frame(self, transport, frame):
        if frame.msg_type == picows.WSMsgType.CLOSE:
            if not Client.closing:
                FAULTS.append(f"closed by the server: {frame.get_close_code()}")
            transport.disconnect()
            return
        if frame.msg_type == picows.WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
            return
        if frame.msg_type not in (picows.WSMsgType.BINARY, picows.WSMsgType.CONTINUATION):
            return
        self.got += frame.payload_size
        if not frame.fin:
            return
        if self.got != len(MESSAGE):
            FAULTS.append(f"echo of {self.got} bytes")
        now = time.perf_counter()
        Client.echoes += 1
        if Client.measuring:
            LATENCIES.append(now - self.began)
        if not Client.closing:
            self.send()

    def on_ws_disconnected(self, transport):
        if not Client.closing:
            FAULTS.append("connection lost")


async def until(enough):
    """Wait until each connection has received a message, for at most a minute."""
    deadline = time.perf_counter() + 60
    while not enough() and not FAULTS and time.perf_counter() < deadline:
        await asyncio.sleep(0.05)


async def main():
    """Connect, warm up, measure, and print the result."""
    clients = []
    for _ in range(JOB["connections"]):
        _, client = await picows.ws_connect(
            Client, JOB["url"], extra_headers=[tuple(pair) for pair in JOB["headers"]],
            max_frame_size=64 << 20, enable_auto_pong=False, websocket_handshake_timeout=30,
        )  # fmt: skip
        clients.append(client)
    for client in clients:
        client.send()
    await asyncio.sleep(min(1.0, JOB["seconds"] / 4))
    await until(lambda: Client.echoes >= len(clients))
    Client.measuring = True
    began = time.perf_counter()
    await asyncio.sleep(JOB["seconds"])
    await until(lambda: len(LATENCIES) >= len(clients))
    Client.measuring = False
    took = time.perf_counter() - began
    Client.closing = True
    for client in clients:
        client.transport.disconnect()
    if FAULTS or not LATENCIES:
        print(json.dumps({"fault": FAULTS[0] if FAULTS else "no message came back"}))
        return
    LATENCIES.sort()
    last = len(LATENCIES) - 1
    print(json.dumps({
        "rate": len(LATENCIES) / took, "p50": LATENCIES[last // 2], "p99": LATENCIES[int(last * 0.99)],
    }))  # fmt: skip


uvloop.run(main())
