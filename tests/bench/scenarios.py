"""The scenarios that are measured through a Target, as data, and the function that runs one."""

from dataclasses import dataclass

from tests.bench import loads, machine
from tests.bench.process import BenchError
from tests.bench.targets import Target

MEGABYTE = 2**20


@dataclass(frozen=True)
class Scenario:
    """One kind of work. `kind`: `http` (small responses), `down`, `up`, `ws`. `size` is in bytes."""

    name: str
    title: str
    kind: str
    connections: int
    size: int = 0

    @property
    def metrics(self) -> dict[str, str]:
        """Metric → unit, in the order of the report."""
        if self.kind == "http":
            return {"rate": "req/s", "p50": "ms", "p99": "ms"}
        if self.kind == "ws":
            return {"rate": "msg/s", "p50": "ms", "p99": "ms"}
        return {"rate": "MB/s", "growth": "MB"} if self.size >= 100 * MEGABYTE else {"rate": "MB/s"}


SCENARIOS = (
    *(Scenario(f"http-{n}", f"small HTTP, {n} conn.", "http", n) for n in (1, 32, 128)),
    *(Scenario(f"body-1m-{way}", f"1 MB bodies {way}, 8 conn.", way, 8, MEGABYTE) for way in ("down", "up")),
    *(Scenario(f"body-100m-{way}", f"100 MB body {way}, 1 conn.", way, 1, 100 * MEGABYTE) for way in ("down", "up")),
    *(Scenario(f"ws-200b-{n}", f"WebSocket 200 B x {n}", "ws", n, 200) for n in (1, 16, 200)),
    *(Scenario(f"ws-1m-{n}", f"WebSocket 1 MB x {n}", "ws", n, MEGABYTE) for n in (1, 4, 16, 200)),
)


async def measure(scenario: Scenario, target: Target, seconds: float) -> dict[str, float]:
    """Run a scenario once. Raises BenchError.

    For 100 MB bodies the result also has `growth`: the largest growth of a process of the target, in bytes.
    """
    if scenario.kind == "http":
        return await loads.wrk(
            target.url("http", "small"), target.headers(), connections=scenario.connections, seconds=seconds
        )
    if scenario.kind == "ws":
        return await loads.websocket(
            target.url("ws", "echo"), target.headers(),
            connections=scenario.connections, size=scenario.size, seconds=seconds,
        )  # fmt: skip
    path = f"down-{scenario.size}" if scenario.kind == "down" else "up"
    pids = target.pids()
    before = {}
    for pid in pids:
        machine.forget_peak(pid)
        before[pid] = machine.status(pid, "VmRSS")
    values = await loads.bodies(
        target.url("http", path), target.headers(), direction=scenario.kind,
        connections=scenario.connections, size=scenario.size, seconds=seconds,
    )  # fmt: skip
    if pids and "growth" in scenario.metrics:
        peaks = {pid: machine.status(pid, "VmHWM") for pid in pids}
        if not all(peaks.values()):
            raise BenchError(f"a process of {target.name} has ended")
        values["growth"] = float(max(peaks[pid] - before[pid] for pid in pids))
    return values
