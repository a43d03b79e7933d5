"""The cluster of a run: a dev cluster of its own, with people, and with a queue that does not move.

Owns: what is changed on the dev cluster, the jobs of other people, and what is in the queue. Refuses to know the hubs.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from deploy.devcluster import clients
from deploy.devcluster.layout import HUB, Layout
from deploy.devcluster.namespaces import inside
from tests.bench.process import BenchError, output_of
from tests.bench_slurm.people import People
from tests.bench_slurm.rpcs import Calls, calls

CPUS = 64  # of a node: all of the people can work at once
ACCOUNT, CROWD = "bench", "crowd"  # Slurm's accounts of the hub's people, and of everybody else
WAIT = "wait"  # a partition whose one node is taken for the whole run: what is queued there waits
PATIENCE = 120.0


class BenchCluster:
    """A running cluster that the people may use."""

    def __init__(self, layout: Layout, people: People) -> None:
        self.layout = layout
        self.people = people

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """The people have an account, and there is a queue that does not move; on the way out all jobs are ended."""
        self._allow(ACCOUNT, self.people.names)
        self._allow(CROWD, [self.people.crowd])
        self._slurm(
            "scontrol", "create", f"PartitionName={WAIT}", "Nodes=gn1", "DefMemPerCPU=500", "DefaultTime=30",
            "MaxTime=1-00:00:00", "State=UP",
        )  # fmt: skip
        try:
            self._submit(1, ["--exclusive", "--mem=0", "--time=1-00:00:00", "--wrap=exec sleep infinity"])
            end = time.monotonic() + PATIENCE
            while self._crowd("RUNNING") != 1:
                if time.monotonic() > end:
                    raise BenchError("The job that keeps a node busy does not run.")
                time.sleep(0.2)
            yield
        finally:
            self._slurm("scancel", "-A", ACCOUNT)
            self._slurm("scancel", "-A", CROWD)

    def _allow(self, account: str, names: list[str]) -> None:
        said = clients.attempt(self.layout, ("sacctmgr", "--immediate", "--quiet"), given=(
            f"add account {account} Description=bench Organization=bench QosLevel=normal DefaultQOS=normal\n"
            f"add user {','.join(names)} Account={account} DefaultAccount={account}\n"
        ))  # fmt: skip
        known = self._slurm("sacctmgr", "-nP", "show", "assoc", f"account={account}", "format=user").split()
        if missing := set(names) - set(known):
            raise BenchError(f"{len(missing)} users have no association: {said.stdout} {said.stderr}")

    def inside(self, argv: Sequence[str]) -> list[str]:
        """The argv as a process on the cluster's login host, where the nodes' names are known."""
        return inside(self.layout, HUB, argv, binds={})

    def crowd(self, wanted: int) -> None:
        """Have so many jobs of others in the queue that does not move; 0: take them away."""
        missing = wanted - self._crowd("PENDING")
        if missing > 0:
            self._submit(missing, ["--time=30", "--wrap=true"])
        elif missing < 0:
            self._slurm("scancel", "-A", CROWD, "-t", "PENDING")

    def _submit(self, count: int, options: list[str]) -> None:
        again = f'for i in $(seq {count}); do sbatch -Q -p {WAIT} -D / -o /dev/null "$@" || exit 1; done'
        argv = ("sh", "-c", again, "sh", *options)
        clients.run(self.layout, argv, user=self.people.crowd, seconds=PATIENCE)

    def _crowd(self, state: str) -> int:
        return len(self._slurm("squeue", "-h", "-A", CROWD, "-t", state, "-o", "%i").split())

    def _slurm(self, *argv: str) -> str:
        return clients.run(self.layout, argv)

    async def queued(self) -> Counter[str]:
        """How many jobs each of the people has in the queue or running."""
        text = await output_of(["squeue", "-h", "-A", ACCOUNT, "-o", "%u"], environment=self.layout.environment)
        return Counter(text.split())

    async def clear(self) -> None:
        """End all jobs of the people, and wait until they are gone."""
        end = time.monotonic() + PATIENCE
        while await self.queued():
            if time.monotonic() > end:
                raise BenchError("Jobs of the round before do not end.")
            await output_of(["scancel", "-A", ACCOUNT], environment=self.layout.environment)
            await asyncio.sleep(0.5)

    async def asked(self) -> Calls:
        """What slurmctld has been asked since it started."""
        return calls(await output_of(["sdiag"], environment=self.layout.environment))

    def version(self) -> str:
        """Slurm's."""
        return self._slurm("sinfo", "--version").split()[-1]
