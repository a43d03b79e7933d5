"""Requests to a complete hub through the REST API that Towpath and JupyterHub share: starts and reads.

Does not know how a hub is started (`tests.bench.jupyterhub`, `tests.bench.towpath`).
"""

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Protocol

from tests.bench import web
from tests.bench.process import BenchError, Child

STUB_BODY = b"towpath bench stub\n"


class Hub(Protocol):
    """A running hub. `start` and `stop` as in Target."""

    name: str
    child: Child | None

    async def start(self) -> None:
        """Start it. Raises BenchError."""

    async def stop(self) -> None:
        """Stop it with all its processes."""

    @property
    def address(self) -> str:
        """`http://127.0.0.1:PORT`."""

    def authorization(self) -> dict[str, str]:
        """The Authorization header with an admin's token."""

    def start_body(self) -> bytes:
        """The request body that starts the stub app."""


def names(count: int) -> list[str]:
    """Return the names of the benchmark's users."""
    return [f"u{number:03d}" for number in range(count)]


async def add_users(hub: Hub, users: Sequence[str]) -> None:
    """Create the users that do not exist yet."""
    answer = await web.request(
        "POST", f"{hub.address}/hub/api/users", hub.authorization(), json.dumps({"usernames": list(users)}).encode()
    )
    if answer.status not in (200, 201, 409):
        raise BenchError(f"{hub.name} did not add users: {answer.status} {answer.body[:300]!r}")


def progress_url(hub: Hub, name: str) -> str:
    """Return the URL of the progress events of a user's server."""
    return f"{hub.address}/hub/api/users/{name}/server/progress"


async def until_ready(hub: Hub, name: str) -> None:
    """Follow the progress events, as the page does, until the server is ready."""
    url = f"{hub.address}/hub/api/users/{name}"
    while True:
        async for event in web.events(progress_url(hub, name), hub.authorization()):
            if event.get("ready"):
                return
            if event.get("failed"):
                raise BenchError(f"{hub.name}: {name} failed: {event.get('message')}")
        user = (await web.request("GET", url, hub.authorization())).json()
        if user.get("server") and not user.get("pending"):
            return
        await asyncio.sleep(0.2)


async def ask(hub: Hub, name: str, body: bytes) -> bool:
    """Start one user's server, as a click on Start does; return whether it is already ready."""
    url = f"{hub.address}/hub/api/users/{name}/server"
    while True:
        answer = await web.request("POST", url, hub.authorization(), body)
        if answer.status != 429:
            break
        await asyncio.sleep(0.5)
    if answer.status not in (201, 202):
        raise BenchError(f"{hub.name}: {name} was not started: {answer.status} {answer.body[:300]!r}")
    return answer.status == 201


async def start_one(hub: Hub, name: str) -> float:
    """Start one user's server and fetch the app's response through the proxy; return the time of the response."""
    if not await ask(hub, name, hub.start_body()):
        await until_ready(hub, name)
    for _ in range(100):
        app = await web.request("GET", f"{hub.address}/user/{name}/", hub.authorization())
        if app.status == 200 and app.body == STUB_BODY:
            return time.perf_counter()
        await asyncio.sleep(0.05)
    raise BenchError(f"{hub.name}: {name} is ready, but its app cannot be reached: {app.status} {app.body[:300]!r}")


async def stop_one(hub: Hub, name: str) -> None:
    """Stop one user's server and wait for its end."""
    url = f"{hub.address}/hub/api/users/{name}"
    await web.request("DELETE", f"{url}/server", hub.authorization())
    while True:
        user = (await web.request("GET", url, hub.authorization())).json()
        if not user.get("server") and not user.get("pending"):
            return
        await asyncio.sleep(0.5)


async def start_all(hub: Hub, count: int) -> list[float | BaseException]:
    """Start all at once; return the time of each app's response, or the error."""
    return await asyncio.gather(*(start_one(hub, name) for name in names(count)), return_exceptions=True)


async def stop_all(hub: Hub, count: int) -> None:
    """Stop all servers, a few at a time."""
    gate = asyncio.Semaphore(8)

    async def stop(name: str) -> None:
        async with gate:
            await stop_one(hub, name)

    await asyncio.gather(*(stop(name) for name in names(count)))


async def spawn(hub: Hub, count: int) -> dict[str, float]:
    """Start all at once; return `time` until the last app answered and `median` of all, in seconds."""
    began = time.perf_counter()
    done = await start_all(hub, count)
    await stop_all(hub, count)
    faults = [fault for fault in done if isinstance(fault, BaseException)]
    if faults:
        raise BenchError(f"{len(faults)} of {count} did not start; the first: {faults[0]}")
    took = sorted(end - began for end in done if isinstance(end, float))
    return {"time": took[-1], "median": took[len(took) // 2]}
