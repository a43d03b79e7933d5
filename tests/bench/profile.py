"""Shows where a worker spends its time, with py-spy during the load. Not part of the benchmark."""

import asyncio
from collections import Counter
from pathlib import Path

from tests.bench.process import BENCH_PYTHON, output_of
from tests.bench.scenarios import Scenario, measure
from tests.bench.targets import Target

PY_SPY = Path(BENCH_PYTHON).with_name("py-spy")
PROFILED = ("http-32", "ws-200b-16", "body-1m-down")


def shares(raw: str, count: int) -> list[tuple[str, float]]:
    """Return the functions that are most often innermost, with their share, from py-spy's `raw` lines (`a;b;c 12`)."""
    leaves: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, times = line.rpartition(" ")
        if stack and times.isdigit():
            leaves[stack.rpartition(";")[2]] += int(times)
    total = sum(leaves.values()) or 1
    return [(name, times / total) for name, times in leaves.most_common(count)]


async def profile(target: Target, scenarios: tuple[Scenario, ...], folder: Path, seconds: float) -> None:
    """Print the shares for each scenario, and write the raw stacks to the folder."""
    for scenario in scenarios:
        if scenario.name not in PROFILED or not target.pids():
            continue
        output = folder / f"{scenario.name}.stacks"
        spy = output_of([
            str(PY_SPY), "record", "--native", "--rate", "200",
            "--format", "raw", "--pid", str(target.pids()[0]),
            "--duration", str(max(1, round(seconds))), "--output", str(output),
        ])  # fmt: skip
        await asyncio.gather(spy, measure(scenario, target, seconds + 1))
        print(f"{target.name} in {scenario.name} (stacks: {output})")
        for name, share in shares(output.read_text(), 25):
            print(f"  {share:6.1%}  {name}")
