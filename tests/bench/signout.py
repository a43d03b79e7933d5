"""Measures how long WebSockets stay open after a sign-out: `python -m tests.bench.signout [ROUNDS]`, on its own hub.

Every round signs in, opens WebSockets until both workers have some, signs out, and waits until the last one has closed.
The time counts from the sign-out request. There is no pass or fail.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.hub import ROOT, Hub

ROUNDS, SOCKETS = 20, 8
PROFILE = """
[[profile]]
name = "echo"
cluster = "local"
app = "web"
command = {command}
"""


async def round_of(hub: Hub, browser) -> float:
    """Return the seconds from the sign-out request to the end of the last WebSocket."""
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    url = f"ws://127.0.0.1:{hub.port}/user/{hub.user()}/echo"
    headers = {"Cookie": cookie, "Origin": hub.origin}
    sockets = [await connect(url, additional_headers=headers, compression=None) for _ in range(SOCKETS)]
    for socket in sockets:
        await socket.send("there?")
        await socket.recv()
    begun = time.perf_counter()
    leaving = asyncio.create_task(asyncio.to_thread(browser.post, "/hub/logout"))

    async def closed(socket) -> float:
        try:
            await socket.recv()
        except ConnectionClosed:
            return time.perf_counter() - begun
        raise AssertionError("a WebSocket sent a message after the sign-out")

    times = await asyncio.gather(*[closed(socket) for socket in sockets])
    await leaving
    return max(times)


def main(arguments: list[str]) -> None:
    """Measure and print the result."""
    rounds = int(arguments[0]) if arguments else ROUNDS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = json.dumps([sys.executable, str(ROOT / "tests/apps/echo.py"), "{socket}"])
        hub = Hub(folder, config=PROFILE.format(command=command), workers=2).start()
        try:
            with hub.api() as api:
                hub.start_server(api)
                hub.wait_ready(api)
                times = sorted(asyncio.run(round_of(hub, hub.browser())) for _ in range(rounds))
                hub.stop_server(api)
        finally:
            hub.stop()
    print(
        f"sign-out to the end of the last of {SOCKETS} WebSockets on 2 workers: median {statistics.median(times) * 1000:.0f} ms,"
        f" most {times[-1] * 1000:.0f} ms, {rounds} rounds"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
