"""Shows which processes use the CPU during many simultaneous starts, in ms per start. Not part of the benchmark.

Owns reading each process's CPU time (proc(5), `schedstat`: nanoseconds on a CPU, per thread) and its kind. Apps and
starters are read while they run, after the last start. Processes that have ended by then are not included.
"""

import asyncio
import time
from collections import defaultdict
from pathlib import Path

from tests.bench import hubs, machine
from tests.bench.process import HERE, BenchError

KINDS = (
    ("stub.py", "the stub app"),
    ("gateway.worker", "gateway workers"),
    ("batch controller", "controller"),
    ("valkey", "Valkey"),
    ("configurable-http-proxy", "CHP"),
    ("jupyterhub", "JupyterHub"),
    ("towpath serve", "supervisor"),
)
LOAD = "load generator"
OTHERS = "others on the machine"


def kind_of(command: str, *, starts_apps: bool) -> str:
    """Return the kind of a process from its command line; forks of the fork server are those with an app as child."""
    found = next((name for part, name in KINDS if part in command), "")
    if found:
        return found
    if starts_apps:
        return "starters"
    return "fork server" if "forkserver" in command else OTHERS


def used(pid: int) -> float:
    """Return the CPU time of all living threads in ms, or 0 if the process has ended."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6
    except OSError:
        return 0.0


def everything() -> dict[int, float]:
    """Return `used` for all processes of the machine."""
    return {int(entry.name): used(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()}


def parent(pid: int) -> int:
    """Return the parent's pid, or 0 if the process has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def by_kind(before: dict[int, float], after: dict[int, float], hub: int, count: int) -> dict[str, float]:
    """Return ms per start by kind of process below `hub`; `others` is everything else on the machine."""
    stubs = {pid for pid in after if str(HERE / "stub.py") in machine.command_line(pid)}
    ours = {hub, *machine.children(hub), *stubs}
    starters = {parent(pid) for pid in stubs} & ours
    spent: dict[str, float] = defaultdict(float)
    for pid, total in after.items():
        kind = kind_of(machine.command_line(pid), starts_apps=pid in starters) if pid in ours else OTHERS
        spent[kind] += max(0.0, total - before.get(pid, 0.0)) / count
    return dict(spent)


async def of_starts(hub: hubs.Hub, count: int) -> None:
    """Start all servers at once, print the CPU time, and stop them."""
    before, load, began = everything(), time.process_time(), time.perf_counter()
    done = await hubs.start_all(hub, count)
    took, load = time.perf_counter() - began, time.process_time() - load
    spent = by_kind(before, await asyncio.to_thread(everything), hub.child.pid, count)
    await hubs.stop_all(hub, count)
    faults = [fault for fault in done if isinstance(fault, BaseException)]
    if faults:
        raise BenchError(f"{len(faults)} of {count} did not start; the first: {faults[0]}")
    spent[LOAD] = load * 1000 / count
    spent[OTHERS] = max(0.0, spent[OTHERS] - spent[LOAD])  # this process is one of them
    print(f"{hub.name}: {count} starts in {took:.2f} s; CPU in ms a start")
    for name, milliseconds in sorted(spent.items(), key=lambda pair: -pair[1]):
        if milliseconds >= 0.01:
            print(f"  {milliseconds:6.2f}  {name}")
