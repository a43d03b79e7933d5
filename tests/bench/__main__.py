"""`python -m tests.bench`: runs the benchmark. Owns the arguments and the order of its parts."""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.bench import costs, gateway_start, hubs, loads, machine, memory, report, sign_in
from tests.bench.chapters import with_first
from tests.bench.goals import ALL, CROWD, HUB, ONE
from tests.bench.jupyterhub import JupyterHub
from tests.bench.process import BENCH_PYTHON, ROOT, BenchError
from tests.bench.profile import PY_SPY, profile
from tests.bench.rounds import Run
from tests.bench.scenarios import SCENARIOS, Scenario, measure
from tests.bench.targets import Chp, Direct, Nginx, NginxTuned, Target, Upstream
from tests.bench.towpath import Towpath

TARGETS = ("direct", "nginx", "nginx-tuned", "chp", ONE, ALL, "jupyterhub", HUB)
START = report.Line("start", "start to ready", {"time": "s"})
READ = {"rate": "req/s", "p50": "ms", "p99": "ms"}
GATEWAY_START = report.Line(gateway_start.SCENARIO, "a gateway, exec to first answer", {"time": "s"})
USERS = report.Line("api-users", "GET /hub/api/users?limit=200, 200 users", READ)
CROWDED = (
    (
        report.Line("crowd-health", "GET /hub/health, store empty and with 10,000 users and 2,000 servers", READ),
        "health",
    ),
    (report.Line("crowd-home", "GET /hub/home, likewise", READ), "home"),
)
CROWD_USERS, CROWD_SERVERS = 10_000, 2_000
USER = report.Line("api-user", "GET /hub/api/users/NAME", {"rate": "req/s", "p50": "ms", "p99": "ms"})


def parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure Towpath beside its peers.")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of everything except the starts (default 5)")
    parser.add_argument("--seconds", type=float, default=2, help="length of one measurement (default 2)")
    parser.add_argument("--spawn-rounds", type=int, default=3, help="rounds of the 200 starts (default 3)")
    parser.add_argument("--servers", type=int, default=200, help="servers started at once (default 200)")
    parser.add_argument("--quick", action="store_true", help="one round of one second; writes no page")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="only scenarios with this prefix; writes no page"
    )
    parser.add_argument("--targets", default=",".join(TARGETS), help=f"any of {','.join(TARGETS)}; fewer write no page")
    parser.add_argument(
        "--against", type=Path, metavar="CHECKOUT",
        help="another checkout of Towpath, whose gateway's start is measured too (git worktree add CHECKOUT COMMIT)",
    )  # fmt: skip
    parser.add_argument(
        "--publish", choices=("api", "store"), default="api", help="how Towpath gets its routes, see towpath.py"
    )
    parser.add_argument(
        "--isolated", action="store_true",
        help="run Towpath's apps in networks of their own, as by default; writes no page",
    )  # fmt: skip
    parser.add_argument(
        "--steal",
        type=float,
        default=0.10,
        help="share of stolen CPU time above which a round is repeated (default 0.10)",
    )
    parser.add_argument("--out", type=Path, help="the page (default docs/performance.md, if the run is complete)")
    parser.add_argument("--json", type=Path, help="also write every sample here")
    parser.add_argument(
        "--profile", type=Path, nargs="?", const=ROOT / "build/profile", metavar="FOLDER",
        help="do not measure, but show where the time goes: in a worker with py-spy, in a start by process "
        "(writes stacks to FOLDER; default build/profile)",
    )  # fmt: skip
    return parser


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    asked = parser()
    wanted = asked.parse_args()
    if wanted.profile and not PY_SPY.exists():
        asked.error(f"--profile needs {PY_SPY.relative_to(ROOT)}, which `make bench` installs.")
    if wanted.quick:
        wanted.rounds = wanted.spawn_rounds = 1
        wanted.seconds = 1.0
    return wanted


SIGN_IN = report.Line("sign-in", "sign-in with a provider, round trip", {"rate": "/s", "p50": "ms", "p99": "ms"})


class Bench:
    """One run."""

    def __init__(self, wanted: argparse.Namespace, folder: Path) -> None:
        self.wanted = wanted
        self.folder = folder
        self.run = Run(wanted.steal)
        self.names = wanted.targets.split(",")
        self.spawn = report.Line("spawn", f"{wanted.servers} servers at once", {"time": "s", "median": "s"})
        self.memory: list[list[str]] = []

    def includes(self, name: str) -> bool:
        """Return whether the scenario is part of this run."""
        return not self.wanted.only or any(name.startswith(start) for start in self.wanted.only)

    def room(self, name: str) -> Path:
        """Create a folder for a target."""
        made = self.folder / name
        made.mkdir(exist_ok=True)
        return made

    async def up(self, candidates: Sequence[Target | hubs.Hub]) -> list:
        """Start the candidates, and return those that started."""
        running: list = []
        for one in candidates:
            try:
                await one.start()
            except asyncio.CancelledError:
                await self.down([*running, one])
                raise
            except (BenchError, OSError, EOFError, ValueError, NotImplementedError) as fault:
                self.run.note(f"{one.name} did not start: {fault!r}")
                await self.down([one])
            else:
                running.append(one)
        return running

    async def down(self, running: Sequence[Target | hubs.Hub]) -> None:
        """Stop all; a failure is noted."""
        for one in running:
            try:
                await one.stop()
            except (BenchError, OSError, EOFError, ValueError) as fault:
                self.run.note(f"{one.name} did not stop well: {fault!r}")

    async def bytes(self) -> None:
        """Measure the data plane."""
        scenarios = [scenario for scenario in SCENARIOS if self.includes(scenario.name)]
        if not scenarios:
            return
        upstream = Upstream(self.folder)
        running: list[Target] = []
        try:
            await upstream.start()
            running = await self.up(self.targets(upstream))
            await self._all_rounds(scenarios, running)
        finally:
            await self.down(running)
            await upstream.stop()

    def targets(self, upstream: Upstream) -> list[Target]:
        """Return the requested targets, in the order of the rounds."""
        made: dict[str, Target] = {
            kind.name: kind(upstream, self.room(kind.name)) for kind in (Direct, Nginx, NginxTuned, Chp)
        }
        for name, workers in ((ONE, 1), (ALL, machine.cores())):
            made[name] = Towpath(
                name,
                self.room(name),
                workers=workers,
                upstream=upstream,
                publish=self.wanted.publish,
                isolated=self.wanted.isolated,
            )
        return [made[name] for name in made if name in self.names]

    async def _all_rounds(self, scenarios: list[Scenario], running: list[Target]) -> None:
        if self.wanted.profile:
            self.wanted.profile.mkdir(parents=True, exist_ok=True)
            for target in running:
                await profile(target, tuple(scenarios), self.wanted.profile, max(5, self.wanted.seconds))
            return
        for number in range(self.wanted.rounds):
            for scenario in scenarios:
                await self._round(scenario, number, running)
            self.save()

    async def _round(self, scenario: Scenario, number: int, running: list[Target]) -> None:
        async def work(target: Target) -> dict[str, float]:
            return await measure(scenario, target, self.wanted.seconds)

        await self.run.round(scenario.name, scenario.metrics, number, running, work)

    def hubs(self, suffix: str) -> list:
        """Return a new instance of each requested hub."""
        made = [
            JupyterHub(self.room(f"jupyterhub{suffix}")),
            Towpath(HUB, self.room(f"towpath{suffix}"), workers=machine.cores()),
        ]
        return [hub for hub in made if hub.name in self.names]

    async def hub(self) -> None:
        """Measure complete hubs."""
        if not self.includes("spawn") and (self.wanted.profile or not self.includes("api-users")):
            return
        running = await self.up(self.hubs(""))
        try:
            for hub in list(running):
                try:
                    await hubs.add_users(hub, hubs.names(self.wanted.servers))
                except (BenchError, OSError, EOFError) as fault:
                    self.run.note(f"{hub.name}: {fault}")
                    running.remove(hub)
                    await self.down([hub])

            async def read(hub: hubs.Hub) -> dict[str, float]:
                url = f"{hub.address}/hub/api/users/{hubs.names(1)[0]}"
                return await loads.wrk(url, hub.authorization(), connections=32, seconds=self.wanted.seconds)

            if self.wanted.profile:
                for hub in running * self.wanted.spawn_rounds:
                    await costs.of_starts(hub, self.wanted.servers)
                return

            async def spawn(hub: hubs.Hub) -> dict[str, float]:
                return await hubs.spawn(hub, self.wanted.servers)

            async def read_all(hub: hubs.Hub) -> dict[str, float]:
                url = f"{hub.address}/hub/api/users?limit=200"
                return await loads.wrk(url, hub.authorization(), connections=32, seconds=self.wanted.seconds)

            for number in range(self.wanted.rounds if self.includes("api-user") else 0):
                await self.run.round(USER.scenario, USER.metrics, number, running, read)
            for number in range(self.wanted.rounds if self.includes("api-users") else 0):
                await self.run.round(USERS.scenario, USERS.metrics, number, running, read_all)
            self.save()
            for number in range(self.wanted.spawn_rounds if self.includes("spawn") else 0):
                await self.run.round(self.spawn.scenario, self.spawn.metrics, number, running, spawn, again=1)
                self.save()
        finally:
            await self.down(running)

    async def crowd(self) -> None:
        """Measure what a full store costs requests that do not need its content."""
        if not self.includes("crowd") or HUB not in self.names:
            return
        full = Towpath(CROWD, self.room("towpath-10k"), workers=machine.cores())
        running = await self.up([Towpath(HUB, self.room("towpath-alone"), workers=machine.cores()), full])
        try:
            if full in running:
                await full.fill(CROWD_USERS, CROWD_SERVERS)
            for line, page in CROWDED:

                async def read(hub: Towpath, page: str = page) -> dict[str, float]:
                    url = f"{hub.address}/hub/{page}"
                    return await loads.wrk(url, hub.authorization(), connections=32, seconds=self.wanted.seconds)

                for number in range(self.wanted.rounds):
                    await self.run.round(line.scenario, line.metrics, number, running, read)
            self.save()
        finally:
            await self.down(running)

    async def sign_ins(self) -> None:
        """Measure sign-ins with a provider."""
        if not self.includes("sign-in"):
            return
        provider = sign_in.Provider(self.folder)
        running: list = []
        try:
            await provider.start()
            made = [
                sign_in.JupyterHubByOAuth(self.room("jupyterhub-sign-in"), provider.issuer),
                sign_in.TowpathByOidc(
                    HUB, self.room("towpath-sign-in"), workers=machine.cores(), issuer=provider.issuer
                ),
            ]
            running = await self.up([hub for hub in made if hub.name in self.names])

            async def enter(hub: sign_in.SignsIn) -> dict[str, float]:
                return await sign_in.measure(hub, self.wanted.seconds)

            for number in range(self.wanted.rounds):
                await self.run.round(SIGN_IN.scenario, SIGN_IN.metrics, number, running, enter)
            self.save()
        finally:
            await self.down(running)
            await provider.stop()

    async def starts(self) -> None:
        """Measure the time from the command to the ready line, with an empty data directory."""

        async def start(hub: JupyterHub | Towpath) -> dict[str, float]:
            try:
                if isinstance(hub, Towpath):
                    await hub.launch()
                else:
                    await hub.start()
                return {"time": hub.took}
            finally:
                await hub.stop()

        for number in range(self.wanted.rounds if self.includes("start") else 0):
            await self.run.round("start", START.metrics, number, self.hubs(f"-start-{number}"), start, again=0)

    async def gateway_starts(self) -> None:
        """Measure the start of a gateway beside that of another checkout."""
        if self.wanted.against is None or not self.includes(GATEWAY_START.scenario):
            return
        store = gateway_start.GatewayStore(self.folder)
        try:
            both = gateway_start.targets(self.wanted.against, self.folder, await store.start())
            for one in both:
                await one.measure()  # compiles what is not compiled yet
            for number in range(self.wanted.rounds):
                await self.run.round(
                    GATEWAY_START.scenario, GATEWAY_START.metrics, number, both, gateway_start.GatewayStart.measure
                )
            self.save()
        finally:
            await store.stop()

    async def memories(self) -> None:
        """Measure the memory of each worker."""
        if not self.includes("memory"):
            return
        for name, work in (
            ("chp", lambda: memory.of_chp(self.folder)),
            (HUB, lambda: memory.of_towpath(self.room("towpath-memory"), machine.cores())),
        ):
            if name in self.names:
                try:
                    self.memory += await work()
                except (BenchError, OSError, EOFError, NotImplementedError) as fault:
                    self.run.note(f"{name}: memory was not measured: {fault!r}")
        for row in self.memory:
            print("  memory  " + "  ".join(row))

    def page(self) -> str:
        """Return the report so far."""
        data = [report.Line(one.name, one.title, one.metrics) for one in SCENARIOS]
        defaults = parser().parse_args([])
        chosen = [
            f"--{name.replace('_', '-')} {getattr(self.wanted, name)}"
            for name in ("rounds", "seconds", "spawn_rounds", "servers", "publish", "steal")
            if getattr(self.wanted, name) != getattr(defaults, name)
        ]
        command = f'make bench ARGS="{" ".join(chosen)}"' if chosen else "make bench"
        return report.text(
            self.run, machine.described(BENCH_PYTHON), data=data, hub=[USER, USERS, self.spawn, SIGN_IN, START, GATEWAY_START, *(line for line, _ in CROWDED)], memory=self.memory,
            rounds=self.wanted.rounds, seconds=self.wanted.seconds, command=command,
            publish=self.wanted.publish,
        )  # fmt: skip

    def save(self) -> None:
        """Write the requested files, so that nothing is lost if a later part fails."""
        partial = self.wanted.quick or self.wanted.only or self.wanted.isolated
        whole = not partial and set(self.names) == set(TARGETS)
        out = self.wanted.out or (ROOT / "docs/performance.md" if whole else None)
        if out:
            out.write_text(with_first(out.read_text() if out.exists() else "", self.page()))
        if self.wanted.json:
            self.wanted.json.write_text(json.dumps([asdict(sample) for sample in self.run.samples], indent=1))


async def main() -> None:
    """Run everything in order."""
    wanted = arguments()
    task = asyncio.current_task()
    if task:  # all children are stopped before exiting
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with tempfile.TemporaryDirectory(prefix="tb-", ignore_cleanup_errors=True) as folder:
        bench = Bench(wanted, Path(folder))
        print(", ".join(f"{key} {value}" for key, value in machine.described(BENCH_PYTHON).items()), flush=True)
        await bench.bytes()
        await bench.hub()
        if not wanted.profile:
            await bench.crowd()
            await bench.sign_ins()
            await bench.starts()
            await bench.gateway_starts()
            await bench.memories()
            bench.save()
            print("\n" + bench.page().partition("## How it was measured")[0])


try:
    asyncio.run(main())
except (KeyboardInterrupt, asyncio.CancelledError):
    sys.exit("ended before the run was whole")
except BenchError as fault:
    sys.exit(str(fault))
