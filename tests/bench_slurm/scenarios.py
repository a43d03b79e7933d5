"""The scenarios on the cluster. Each function is one measurement and returns metric -> figure (seconds, counts).

Does not know which hub it is, or the order of the rounds.
"""

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.bench import hubs, loads, web
from tests.bench.process import BenchError
from tests.bench_slurm.cluster import BenchCluster
from tests.bench_slurm.hubs import SlurmHub
from tests.bench_slurm.rpcs import Calls, between

PATIENCE = 120.0


@dataclass
class Workload:
    """The cluster, the amount of work, and the messages of each measurement: (scenario, hub) -> calls."""

    cluster: BenchCluster
    jobs: int  # in Slurm while the users' jobs wait, including theirs
    workers: int  # number of users who start and work at the same time
    seconds: float  # from the first click to the end of the work
    window: float  # seconds of counting messages
    settle: float  # seconds before counting, because a hub may poll more often after a start
    starts: int  # per round of `ready`
    load: float  # seconds of each load of `proxy`
    calls: dict[tuple[str, str], Calls] = field(default_factory=dict)

    @property
    def users(self) -> list[str]:
        """All users."""
        return self.cluster.users.names

    async def counted(self, scenario: str, hub: SlurmHub, before: Calls) -> int:
        """Count the clients' messages since `before`."""
        self.calls[scenario, hub.name] = between(before, await self.cluster.messages())
        return self.calls[scenario, hub.name].total()


async def flood(hub: SlurmHub, workload: Workload) -> dict[str, float]:
    """Start all servers within one second: `time` until all are in Slurm's queue. Raises if one is queued twice."""
    workload.cluster.crowd(workload.jobs - len(workload.users))
    began = time.perf_counter()

    async def click(number: int, name: str) -> None:
        await asyncio.sleep(number / len(workload.users))
        await hubs.ask(hub, name, hub.body("wait"))

    clicks = asyncio.gather(*(click(number, name) for number, name in enumerate(workload.users)))
    try:
        time_all = await _until_queued(workload, hub, began)
        await clicks
        await asyncio.sleep(min(5, workload.settle))  # time for a possible second submit
        queued = await workload.cluster.queued()
    finally:
        clicks.cancel()
    if queued != Counter(workload.users):
        raise BenchError(f"{hub.name}: not one job each: {queued.most_common(3)}")
    return {"time": time_all}


async def _until_queued(workload: Workload, hub: SlurmHub, began: float) -> float:
    while len(queued := await workload.cluster.queued()) < len(workload.users):
        if time.perf_counter() - began > PATIENCE:
            raise BenchError(f"{hub.name}: {queued.total()} of {len(workload.users)} are queued after {PATIENCE:.0f} s")
        await asyncio.sleep(0.25)  # a poll costs slurmctld and this machine more than a submit
    return time.perf_counter() - began


async def watch(hub: SlurmHub, workload: Workload) -> dict[str, float]:
    """Count messages per minute with all servers queued: with `one` pending page open, with `many`, and their `ratio`."""
    await flood(hub, workload)
    await asyncio.sleep(workload.settle)
    one = await _watched(hub, workload, workload.users[:1])
    many = await _watched(hub, workload, workload.users)
    return {"one": one, "many": many, "ratio": many / one}


async def _watched(hub: SlurmHub, workload: Workload, who: list[str]) -> float:
    heard: set[str] = set()

    async def page(name: str) -> None:
        async for _ in web.events(hubs.progress_url(hub, name), hub.authorization()):
            heard.add(name)

    async with _running([page(name) for name in who]) as pages:
        end = time.perf_counter() + PATIENCE
        while len(heard) < len(who) and time.perf_counter() < end:
            await asyncio.sleep(0.1)
        before, began = await workload.cluster.messages(), time.perf_counter()
        await asyncio.sleep(workload.window)
        found = await workload.counted("watch", hub, before)
        took = time.perf_counter() - began
        if len(heard) < len(who) or any(one.done() for one in pages):
            raise BenchError(f"{hub.name}: {len(who)} pages were opened, {len(heard)} got an event")
    return found * 60 / took


async def work(hub: SlurmHub, workload: Workload) -> dict[str, float]:
    """Count messages (`rpcs`) while servers are started and used, until `seconds` after the first click.

    `looks`: messages that are not submits. `time`: until the last app answered.
    """
    workload.cluster.crowd(0)
    who = workload.users[: workload.workers]
    before, began = await workload.cluster.messages(), time.perf_counter()
    done = await asyncio.gather(*(hubs.start_one(hub, name) for name in who))

    async def use(name: str) -> None:
        while True:
            answer = await web.request("GET", f"{hub.address}/user/{name}/", hub.authorization())
            if answer.status != 200:
                raise BenchError(f"{hub.name}: {name}'s app answers {answer.status}")
            await asyncio.sleep(5)

    async with _running([use(name) for name in who]) as users:
        await asyncio.sleep(max(0.0, began + workload.seconds - time.perf_counter()))
        rpcs = await workload.counted("work", hub, before)
        looks = rpcs - workload.calls["work", hub.name]["REQUEST_SUBMIT_BATCH_JOB"]
        for user in users:
            if user.done():
                user.result()
    return {"rpcs": rpcs, "looks": looks, "time": max(done) - began}


async def lab(hub: SlurmHub, workload: Workload) -> dict[str, float]:
    """Measure the `time` from the click to JupyterLab's page, for one user on an empty cluster."""
    name = workload.users[0]
    began = time.perf_counter()
    if not await hubs.ask(hub, name, hub.body("lab")):
        await hubs.until_ready(hub, name)
    while (answer := await web.request("GET", f"{hub.address}/user/{name}/lab", hub.authorization())).status != 200:
        if time.perf_counter() - began > PATIENCE:
            raise BenchError(f"{hub.name}: JupyterLab answers {answer.status}")
        await asyncio.sleep(0.05)
    took = time.perf_counter() - began
    if b"JupyterLab" not in answer.body:
        raise BenchError(f"{hub.name}: the page is not JupyterLab's: {answer.body[:200]!r}")
    await hubs.stop_one(hub, name)
    await workload.cluster.clear()
    return {"time": took}


async def ready(hub: SlurmHub, workload: Workload) -> dict[str, float]:
    """Measure p50 and p95 from the app's first response to the event `ready` in the browser, in starts one by one."""
    took = []
    for number in range(workload.starts):
        name = workload.users[number % len(workload.users)]
        if not await hubs.ask(hub, name, hub.body("stub")):
            await hubs.until_ready(hub, name)
        now = time.time()
        took.append(now - workload.cluster.users.answered(name))
        await hubs.stop_one(hub, name)
    took.sort()
    return {"p50": took[len(took) // 2], "p95": took[round(0.95 * (len(took) - 1))]}


async def proxy(hub: SlurmHub, workload: Workload) -> dict[str, float]:
    """Measure an nginx in a job through the hub's proxy: `small` responses on 32 connections, `body` of 1 MB on 8."""
    name = workload.users[0]
    if not await hubs.ask(hub, name, hub.body("nginx")):
        await hubs.until_ready(hub, name)
    url, head = f"{hub.address}/user/{name}/", hub.authorization()
    small = await loads.wrk(f"{url}small", head, connections=32, seconds=workload.load)
    body = await loads.bodies(f"{url}down-1m", head, connections=8, size=2**20, seconds=workload.load, direction="down")
    await hubs.stop_one(hub, name)
    await workload.cluster.clear()
    return {"small": small["rate"], "body": body["rate"]}


@contextlib.asynccontextmanager
async def _running(coroutines):
    """Run coroutines as tasks, and cancel them afterwards."""
    tasks = [asyncio.create_task(one) for one in coroutines]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
