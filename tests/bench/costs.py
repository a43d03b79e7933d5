"""Where the CPU of many starts at once goes: milliseconds a start, per kind of process. Not part of the measurement.

Owns: what each process has used (proc(5), `schedstat`: nanoseconds on a CPU, per thread) and what kind it is. Apps and
starters are read while they run, after the last start: what a process that has ended meanwhile used is not in here.
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
    """What a process is, by its command line; forks of a fork server are told from it by the app beneath them."""
    found = next((name for part, name in KINDS if part in command), "")
    if found:
        return found
    if starts_apps:
        return "starters"
    return "fork server" if "forkserver" in command else OTHERS


def used(pid: int) -> float:
    """Milliseconds of CPU so far, of all threads that live; 0 when the process is gone."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6
    except OSError:
        return 0.0


def everything() -> dict[int, float]:
    """`used` of every process of the machine."""
    return {int(entry.name): used(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()}


def parent(pid: int) -> int:
    """The parent's pid; 0 when the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def by_kind(before: dict[int, float], after: dict[int, float], hub: int, count: int) -> dict[str, float]:
    """Milliseconds a start per kind of process below `hub`; `others` is whatever else the machine did."""
    stubs = {pid for pid in after if str(HERE / "stub.py") in machine.command_line(pid)}
    ours = {hub, *machine.children(hub), *stubs}
    starters = {parent(pid) for pid in stubs} & ours
    spent: dict[str, float] = defaultdict(float)
    for pid, total in after.items():
        kind = kind_of(machine.command_line(pid), starts_apps=pid in starters) if pid in ours else OTHERS
        spent[kind] += max(0.0, total - before.get(pid, 0.0)) / count
    return dict(spent)


async def of_starts(hub: hubs.Hub, count: int) -> None:
    """Start all at once, say what that cost, and stop them again."""
    before, load, began = everything(), time.process_time(), time.perf_counter()
    done = await hubs.start_all(hub, count)
    took, load = time.perf_counter() - began, time.process_time() - load
    spent = by_kind(before, await asyncio.to_thread(everything), hub.child.pid, count)
    await hubs.stop_all(hub, count)
    faults = [fault for fault in done if isinstance(fault, BaseException)]
    if faults:
        raise BenchError(f"{len(faults)} of {count} did not start; the first: {faults[0]}")
    spent[LOAD] = load * 1000 / count
    spent[OTHERS] = max(0.0, spent[OTHERS] - spent[LOAD])  # we are on it, too
    print(f"{hub.name}: {count} starts in {took:.2f} s; CPU in ms a start")
    for name, milliseconds in sorted(spent.items(), key=lambda pair: -pair[1]):
        if milliseconds >= 0.01:
            print(f"  {milliseconds:6.2f}  {name}")
