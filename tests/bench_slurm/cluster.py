"""The cluster of a run: its own development cluster, with users and with a queue that does not move.

Owns the changes to the development cluster, the jobs of other users, and the queue. Does not know about the hubs.
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
from tests.bench_slurm.rpcs import Calls, calls
from tests.bench_slurm.users import BenchUsers

CPUS = 64  # of a node, so that all users can work at the same time
ACCOUNT, CROWD = "bench", "crowd"  # Slurm's accounts of the hub's users and of all others
WAIT = "wait"  # a partition whose only node is busy for the whole run, so that its jobs wait
PATIENCE = 120.0


class BenchCluster:
    """A running cluster that the users may use."""

    def __init__(self, layout: Layout, users: BenchUsers) -> None:
        self.layout = layout
        self.users = users

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Add the users' accounts and a queue that does not move; cancel all jobs afterwards."""
        self._allow(ACCOUNT, self.users.names)
        self._allow(CROWD, [self.users.crowd])
        self._slurm(
            "scontrol", "create", f"PartitionName={WAIT}", "Nodes=gn1", "DefMemPerCPU=500", "DefaultTime=30",
            "MaxTime=1-00:00:00", "State=UP",
        )  # fmt: skip
        try:
            self._submit(1, ["--exclusive", "--mem=0", "--time=1-00:00:00", "--wrap=exec sleep infinity"])
            end = time.monotonic() + PATIENCE
            while self._crowd("RUNNING") != 1:
                if time.monotonic() > end:
                    raise BenchError("The job that keeps a node busy did not start.")
                time.sleep(0.2)
            yield
        finally:
            self._slurm("scancel", "-A", ACCOUNT)
            self._slurm("scancel", "-A", CROWD)

    def _allow(self, account: str, names: list[str]) -> None:
        said = clients.attempt(self.layout, ("sacctmgr", "--immediate", "--quiet"), stdin=(
            f"add account {account} Description=bench Organization=bench QosLevel=normal DefaultQOS=normal\n"
            f"add user {','.join(names)} Account={account} DefaultAccount={account}\n"
        ))  # fmt: skip
        known = self._slurm("sacctmgr", "-nP", "show", "assoc", f"account={account}", "format=user").split()
        if missing := set(names) - set(known):
            raise BenchError(f"{len(missing)} users have no association: {said.stdout} {said.stderr}")

    def inside(self, argv: Sequence[str]) -> list[str]:
        """Return the command line that runs `argv` on the cluster's login host, which can resolve the nodes' names."""
        return inside(self.layout, HUB, argv, binds={})

    def crowd(self, wanted: int) -> None:
        """Set the number of other users' jobs in the queue that does not move."""
        missing = wanted - self._crowd("PENDING")
        if missing > 0:
            self._submit(missing, ["--time=30", "--wrap=true"])
        elif missing < 0:
            self._slurm("scancel", "-A", CROWD, "-t", "PENDING")

    def _submit(self, count: int, options: list[str]) -> None:
        again = f'for i in $(seq {count}); do sbatch -Q -p {WAIT} -D / -o /dev/null "$@" || exit 1; done'
        argv = ("sh", "-c", again, "sh", *options)
        clients.run(self.layout, argv, user=self.users.crowd, seconds=PATIENCE)

    def _crowd(self, state: str) -> int:
        return len(self._slurm("squeue", "-h", "-A", CROWD, "-t", state, "-o", "%i").split())

    def _slurm(self, *argv: str) -> str:
        return clients.run(self.layout, argv)

    async def queued(self) -> Counter[str]:
        """Return the number of queued or running jobs of each user."""
        text = await output_of(["squeue", "-h", "-A", ACCOUNT, "-o", "%u"], environment=self.layout.environment)
        return Counter(text.split())

    async def clear(self) -> None:
        """Cancel all jobs of the users, and wait for their end."""
        end = time.monotonic() + PATIENCE
        while await self.queued():
            if time.monotonic() > end:
                raise BenchError("Jobs of the previous round do not end.")
            await output_of(["scancel", "-A", ACCOUNT], environment=self.layout.environment)
            await asyncio.sleep(0.5)

    async def messages(self) -> Calls:
        """Return the messages to slurmctld since its start."""
        return calls(await output_of(["sdiag"], environment=self.layout.environment))

    def version(self) -> str:
        """Return Slurm's version."""
        return self._slurm("sinfo", "--version").split()[-1]
