"""What is asked of a hub on the cluster. Each function is one measurement, and gives metric -> figure (seconds, counts).

Owns: the work, and what is timed. Refuses to know which hub it is, and the order of the rounds.
"""

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.bench import hubs, web
from tests.bench.process import BenchError
from tests.bench_slurm.cluster import BenchCluster
from tests.bench_slurm.hubs import SlurmHub
from tests.bench_slurm.rpcs import Calls, between

PATIENCE = 120.0


@dataclass
class Ground:
    """The cluster, how much is asked, and which messages each measurement caused: (scenario, hub) -> calls."""

    cluster: BenchCluster
    jobs: int  # that Slurm knows while theirs wait, theirs included
    workers: int  # of the people, who start and work at once
    seconds: float  # from the first click to the end of their work
    window: float  # of one count of messages, in seconds
    settle: float  # before it: a hub may look more often for a while after a start
    starts: int  # of one round of `ready`
    calls: dict[tuple[str, str], Calls] = field(default_factory=dict)

    @property
    def people(self) -> list[str]:
        """All of them."""
        return self.cluster.people.names

    async def counted(self, scenario: str, hub: SlurmHub, before: Calls) -> int:
        """How many messages of clients came since."""
        self.calls[scenario, hub.name] = between(before, await self.cluster.asked())
        return self.calls[scenario, hub.name].total()


async def flood(hub: SlurmHub, ground: Ground) -> dict[str, float]:
    """Servers asked for within one second: `time` until all are in Slurm's queue. Raises where one is there twice."""
    ground.cluster.crowd(ground.jobs - len(ground.people))
    began = time.perf_counter()

    async def click(number: int, name: str) -> None:
        await asyncio.sleep(number / len(ground.people))
        await hubs.ask(hub, name, hub.body("wait"))

    clicks = asyncio.gather(*(click(number, name) for number, name in enumerate(ground.people)))
    try:
        time_all = await _until_queued(ground, hub, began)
        await clicks
        await asyncio.sleep(min(5, ground.settle))  # for what may be submitted a second time
        queued = await ground.cluster.queued()
    finally:
        clicks.cancel()
    if queued != Counter(ground.people):
        raise BenchError(f"{hub.name}: not one job each: {queued.most_common(3)}")
    return {"time": time_all}


async def _until_queued(ground: Ground, hub: SlurmHub, began: float) -> float:
    while len(queued := await ground.cluster.queued()) < len(ground.people):
        if time.perf_counter() - began > PATIENCE:
            raise BenchError(f"{hub.name}: {queued.total()} of {len(ground.people)} are queued after {PATIENCE:.0f} s")
        await asyncio.sleep(0.25)  # a look costs slurmctld and this machine more than a submit
    return time.perf_counter() - began


async def watch(hub: SlurmHub, ground: Ground) -> dict[str, float]:
    """Messages per minute with all servers queued: with `one` pending page open, with `many`, and their `ratio`."""
    await flood(hub, ground)
    await asyncio.sleep(ground.settle)
    one = await _watched(hub, ground, ground.people[:1])
    many = await _watched(hub, ground, ground.people)
    return {"one": one, "many": many, "ratio": many / one}


async def _watched(hub: SlurmHub, ground: Ground, who: list[str]) -> float:
    heard: set[str] = set()

    async def page(name: str) -> None:
        async for _ in web.events(hubs.progress_url(hub, name), hub.authorization()):
            heard.add(name)

    async with _running([page(name) for name in who]) as pages:
        end = time.perf_counter() + PATIENCE
        while len(heard) < len(who) and time.perf_counter() < end:
            await asyncio.sleep(0.1)
        before, began = await ground.cluster.asked(), time.perf_counter()
        await asyncio.sleep(ground.window)
        found = await ground.counted("watch", hub, before)
        took = time.perf_counter() - began
        if len(heard) < len(who) or any(one.done() for one in pages):
            raise BenchError(f"{hub.name}: {len(who)} pages were opened, {len(heard)} heard of their server")
    return found * 60 / took


async def work(hub: SlurmHub, ground: Ground) -> dict[str, float]:
    """Messages (`rpcs`) while servers are started at once and used until `seconds` after the first click.

    `looks`: those that are not submits. `time`: until the last app answered.
    """
    ground.cluster.crowd(0)
    who = ground.people[: ground.workers]
    before, began = await ground.cluster.asked(), time.perf_counter()
    done = await asyncio.gather(*(hubs.start_one(hub, name) for name in who))

    async def use(name: str) -> None:
        while True:
            answer = await web.request("GET", f"{hub.address}/user/{name}/", hub.authorization())
            if answer.status != 200:
                raise BenchError(f"{hub.name}: {name}'s app answers {answer.status}")
            await asyncio.sleep(5)

    async with _running([use(name) for name in who]) as users:
        await asyncio.sleep(max(0.0, began + ground.seconds - time.perf_counter()))
        rpcs = await ground.counted("work", hub, before)
        looks = rpcs - ground.calls["work", hub.name]["REQUEST_SUBMIT_BATCH_JOB"]
        for user in users:
            if user.done():
                user.result()
    return {"rpcs": rpcs, "looks": looks, "time": max(done) - began}


async def lab(hub: SlurmHub, ground: Ground) -> dict[str, float]:
    """`time` from the click to JupyterLab's page, for one person on an empty cluster."""
    name = ground.people[0]
    began = time.perf_counter()
    if not await hubs.ask(hub, name, hub.body("lab")):
        await hubs.until_ready(hub, name)
    while (answer := await web.request("GET", f"{hub.address}/user/{name}/lab", hub.authorization())).status != 200:
        if time.perf_counter() - began > PATIENCE:
            raise BenchError(f"{hub.name}: JupyterLab answers {answer.status}")
        await asyncio.sleep(0.05)
    took = time.perf_counter() - began
    if b"JupyterLab" not in answer.body:
        raise BenchError(f"{hub.name}: something else than JupyterLab answers: {answer.body[:200]!r}")
    await hubs.stop_one(hub, name)
    await ground.cluster.clear()
    return {"time": took}


async def ready(hub: SlurmHub, ground: Ground) -> dict[str, float]:
    """From the app's first answer to the event `ready` in the browser, over several starts one by one: p50, p95."""
    took = []
    for number in range(ground.starts):
        name = ground.people[number % len(ground.people)]
        if not await hubs.ask(hub, name, hub.body("stub")):
            await hubs.until_ready(hub, name)
        now = time.time()
        took.append(now - ground.cluster.people.answered(name))
        await hubs.stop_one(hub, name)
    took.sort()
    return {"p50": took[len(took) // 2], "p95": took[round(0.95 * (len(took) - 1))]}


@contextlib.asynccontextmanager
async def _running(coroutines):
    """All of them run within."""
    tasks = [asyncio.create_task(one) for one in coroutines]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
