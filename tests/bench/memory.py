"""Measures the memory of workers and of CHP, with an empty and a full routing table."""

import asyncio
import json
from pathlib import Path

from tests.bench import loads, machine, web
from tests.bench.process import HERE, Child
from tests.bench.stats import written
from tests.bench.towpath import Towpath
from tests.ports import free_port

ROUTES = 10_000


async def settled(pids: list[int]) -> None:
    """Wait until no process grows by more than half a MB in two seconds."""
    before = [0.0] * len(pids)
    while True:
        now = [float(machine.pss(pid)) for pid in pids]
        if all(abs(one - other) < 2**19 for one, other in zip(now, before, strict=True)):
            return
        before = now
        await asyncio.sleep(2)


def rows(name: str, pids: list[int], routes: int) -> list[list[str]]:
    """Return one row per process."""
    return [
        [f"{name} worker {number + 1}" if len(pids) > 1 else name, f"{routes:,}",
         written(machine.pss(pid), "MB"), written(machine.status(pid, "VmRSS"), "MB")]
        for number, pid in enumerate(pids)
    ]  # fmt: skip


async def of_towpath(folder: Path, workers: int) -> list[list[str]]:
    """Measure each worker after some requests, then with the routes in its mirror."""
    hub = Towpath("towpath", folder, workers=workers)
    try:
        await hub.start()
        url = f"{hub.address}/hub/api/users/{hub.user}"
        await loads.wrk(url, hub.authorization(), connections=8, seconds=1)
        await settled(hub.pids())
        found = rows("towpath", hub.pids(), 0)
        await hub.publish_many(ROUTES)
        await settled(hub.pids())
        return found + rows("towpath", hub.pids(), ROUTES)
    finally:
        await hub.stop()


async def of_chp(folder: Path) -> list[list[str]]:
    """Measure CHP, with routes set through its API."""
    port, api = free_port(), free_port()
    command = [
        str(HERE / "node_modules/.bin/configurable-http-proxy"), "--ip", "127.0.0.1", "--port", str(port),
        "--api-ip", "127.0.0.1", "--api-port", str(api), "--log-level", "error",
    ]  # fmt: skip
    child = Child(command, folder / "chp-memory.log", environment={"CONFIGPROXY_AUTH_TOKEN": "bench"})
    try:
        await child.until_listening(api)
        await settled([child.pid])
        found = rows("chp", [child.pid], 0)
        for first in range(0, ROUTES, 50):
            await asyncio.gather(*(
                web.request(
                    "POST", f"http://127.0.0.1:{api}/api/routes/user/r{number:05d}", {"Authorization": "token bench"},
                    json.dumps({"target": f"http://127.0.0.1:{1 + number}"}).encode(),
                )
                for number in range(first, first + 50)
            ))  # fmt: skip
        await settled([child.pid])
        return found + rows("chp", [child.pid], ROUTES)
    finally:
        await child.stop()
