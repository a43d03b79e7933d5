"""`python -m tests.bench_slurm`: runs the benchmark. Owns the arguments and the order of its parts."""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from deploy.devcluster.errors import DevclusterError
from tests import slurm
from tests.bench import hubs, machine
from tests.bench.chapters import with_second
from tests.bench.goals import verdict
from tests.bench.process import BENCH_PYTHON, ROOT, BenchError
from tests.bench.report import Line, goals_table
from tests.bench.rounds import Run
from tests.bench_slurm import report, scenarios, users
from tests.bench_slurm.cluster import CPUS, BenchCluster
from tests.bench_slurm.goals import GOALS
from tests.bench_slurm.hubs import JUPYTER, PEER, TOWPATH, Batchspawner, SlurmHub, SlurmTowpath
from tests.bench_slurm.scenarios import Workload

LINES = [
    Line("watch", "all wait, messages a minute", {"one": "1 watches", "many": "all watch"}),
    Line("flood", "started within one second, until all are queued", {"time": "s"}),
    Line("work", "start at once and work", {"rpcs": "messages", "looks": "without submits", "time": "s"}),
    Line("lab", "click to JupyterLab", {"time": "s"}),
    Line("ready", "app answers to redirect", {"p50": "ms", "p95": "ms"}),
    Line("proxy", "an nginx in a job", {"small": "req/s", "body": "MB/s"}),
]
ALONE = ("watch", "flood", "work")  # one hub at a time, new for each round: they count messages or load Slurm
TARGETS = (PEER, TOWPATH)
QUICK = {
    "rounds": 1, "lab_rounds": 1, "users": 2, "workers": 2, "jobs": 5, "seconds": 5.0, "window": 10.0, "settle": 1.0,
    "starts": 2, "proxy_rounds": 1, "load": 1.0,
}  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench_slurm", description="Measure both hubs on one Slurm.")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of everything except JupyterLab (default 2)")
    parser.add_argument("--lab-rounds", type=int, default=10, help="rounds of the start of JupyterLab (default 10)")
    parser.add_argument("--users", type=int, default=200, help="users whose servers wait (default 200)")
    parser.add_argument(
        "--workers", type=int, default=50, help="users who start and work at the same time (default 50)"
    )
    parser.add_argument("--jobs", type=int, default=1500, help="jobs in Slurm in total while they wait (default 1500)")
    parser.add_argument("--seconds", type=float, default=180, help="seconds of starting and working (default 180)")
    parser.add_argument("--window", type=float, default=60, help="seconds of counting while they wait (default 60)")
    parser.add_argument("--settle", type=float, default=15, help="seconds of rest before counting (default 15)")
    parser.add_argument(
        "--starts", type=int, default=10, help="starts per round for app answers to redirect (default 10)"
    )
    parser.add_argument("--proxy-rounds", type=int, default=5, help="rounds of the load on an nginx (default 5)")
    parser.add_argument("--load", type=float, default=5, help="seconds of each load on an nginx (default 5)")
    parser.add_argument("--quick", action="store_true", help="one tiny round of everything; writes no page")
    parser.add_argument("--only", action="append", default=[], metavar="NAME",
                        help=f"any of {', '.join(line.scenario for line in LINES)}; writes no page")  # fmt: skip
    parser.add_argument("--targets", default=",".join(TARGETS), help=f"any of {','.join(TARGETS)}; fewer write no page")
    parser.add_argument(
        "--steal", type=float, default=0.10, help="share of stolen CPU time above which a round is repeated"
    )
    parser.add_argument("--out", type=Path, help="the page (default docs/performance.md, if the run is complete)")
    parser.add_argument("--json", type=Path, help="also write every sample here")
    return parser


class Bench:
    """One run on a running cluster."""

    def __init__(self, wanted: argparse.Namespace, folder: Path, cluster: BenchCluster) -> None:
        self.wanted = wanted
        self.folder = folder
        self.run = Run(wanted.steal)
        self.targets = wanted.targets.split(",")
        self.workload = Workload(
            cluster, wanted.jobs, wanted.workers, wanted.seconds, wanted.window, wanted.settle,
            wanted.starts, wanted.load,
        )  # fmt: skip
        self.made = 0

    async def hub(self, name: str, scenario: str) -> SlurmHub:
        """Start a new hub and add the users. CHP is one process, so `proxy` compares it with one worker."""
        self.made += 1
        folder = self.folder / f"{self.made}"
        folder.mkdir()
        cluster = self.workload.cluster
        workers = 1 if scenario == "proxy" else 0
        hub = Batchspawner(folder, cluster) if name == PEER else SlurmTowpath(folder, cluster, workers=workers)
        try:
            await hub.start()
            await hubs.add_users(hub, self.workload.users)
        except BaseException:
            await hub.stop()
            raise
        return hub

    async def measure(self) -> None:
        """Run all requested scenarios in order."""
        for line in LINES:
            if not self.wanted.only or line.scenario in self.wanted.only:
                work = getattr(scenarios, line.scenario)
                await (self.alone(line, work) if line.scenario in ALONE else self.together(line, work))
                self.save()

    async def alone(self, line: Line, work: Callable[[SlurmHub, Workload], Awaitable[dict[str, float]]]) -> None:
        """Run a scenario with one hub at a time, from its start to its end."""

        async def one(name: str) -> dict[str, float]:
            hub = await self.hub(name, line.scenario)
            try:
                return await work(hub, self.workload)
            finally:
                await hub.stop()
                await self.workload.cluster.clear()

        for number in range(self.wanted.rounds):
            await self.run.round(line.scenario, line.metrics, number, self.targets, one, again=0)

    async def together(self, line: Line, work: Callable[[SlurmHub, Workload], Awaitable[dict[str, float]]]) -> None:
        """Run a scenario with both hubs running, one of them idle."""
        self.workload.cluster.crowd(0)
        running: list[SlurmHub] = []

        async def one(hub: SlurmHub) -> dict[str, float]:
            try:
                return await work(hub, self.workload)
            except BaseException:
                await self.workload.cluster.clear()
                raise

        try:
            for name in self.targets:
                running.append(await self.hub(name, line.scenario))
            rounds = {"lab": self.wanted.lab_rounds, "proxy": self.wanted.proxy_rounds}
            for number in range(rounds.get(line.scenario, self.wanted.rounds)):
                await self.run.round(line.scenario, line.metrics, number, running, one, again=1)
        except (BenchError, OSError, EOFError) as fault:
            self.run.note(f"{line.scenario}: {fault}")
        finally:
            for hub in running:
                await hub.stop()
            await self.workload.cluster.clear()

    def save(self) -> None:
        """Write the requested files, so that nothing is lost if a later part fails."""
        whole = not self.wanted.quick and not self.wanted.only and set(self.targets) == set(TARGETS)
        out = self.wanted.out or (ROOT / "docs/performance.md" if whole else None)
        if out:
            out.write_text(with_second(out.read_text() if out.exists() else "", self.page()))
        if self.wanted.json:
            self.wanted.json.write_text(json.dumps([asdict(sample) for sample in self.run.samples], indent=1))

    def page(self) -> str:
        """Return the part of the page so far."""
        wanted, defaults = vars(self.wanted), vars(parser().parse_args([]))
        chosen = [
            f"--{name.replace('_', '-')} {wanted[name]}" for name in (*QUICK, "steal")
            if wanted[name] != defaults[name]
        ]  # fmt: skip
        return report.text(
            self.run, LINES, self.workload, described(self.workload.cluster), cpus=CPUS,
            rounds=f"{self.wanted.rounds} rounds, {self.wanted.lab_rounds} of the start of JupyterLab, {self.wanted.proxy_rounds} of nginx",
            command=f'make bench-slurm ARGS="{" ".join(chosen)}"' if chosen else "make bench-slurm",
        )  # fmt: skip

    def summary(self) -> str:
        """Return the goals, those that were missed, and the messages to slurmctld."""
        missed = [
            f"  ! missed: {goal.title}: {goal.bound_text} wanted, {goal.shown(found.middle)} found"
            for goal in GOALS
            if (result := verdict(goal, self.run.samples)).found and not result.met and (found := result.found)
        ]
        calls = report.calls_table(self.workload.calls, self.workload) if self.workload.calls else ""
        return "\n".join(["", goals_table(self.run, GOALS), *missed, "", calls])


def described(cluster: BenchCluster) -> dict[str, str]:
    """Return a description of the machine."""
    peers = machine.described(BENCH_PYTHON)
    wanted = ("cores", "processor", "memory", "kernel", "Python", "JupyterHub", "configurable-http-proxy")
    versions = machine.versions(BENCH_PYTHON, "batchspawner", "jupyterlab")
    return {
        **{key: peers[key] for key in wanted},
        "batchspawner": versions[0],
        "JupyterLab": versions[1],
        "Slurm": cluster.version(),
    }


async def main(wanted: argparse.Namespace) -> None:
    """Run everything in order."""
    task = asyncio.current_task()
    if task:  # the cluster and its users are removed before exiting
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    for environment in (JUPYTER, *([Path(BENCH_PYTHON).parent] if PEER in wanted.targets else [])):
        users.must_read(environment)
    print("Starting Slurm", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="tb-", ignore_cleanup_errors=True) as folder,
        slurm.running(cpus=CPUS) as rig,
        users.accounts(rig.layout.number, wanted.users) as accounts,
    ):
        cluster = BenchCluster(rig.layout, accounts)
        with cluster.prepared():
            bench = Bench(wanted, Path(folder), cluster)
            await bench.measure()
            print(bench.summary(), flush=True)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    wanted = parser().parse_args(given)
    if wanted.quick:
        vars(wanted).update(QUICK)
    return wanted


try:
    asyncio.run(main(arguments()))
except (KeyboardInterrupt, asyncio.CancelledError):
    sys.exit("interrupted before the run was complete")
except (BenchError, DevclusterError, AssertionError) as fault:
    sys.exit(str(fault))
