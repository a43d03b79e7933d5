"""A scripted Slurm in memory, which handles one request at a time, and a clock that tests advance."""

import itertools

from msgspec.structs import replace

from batch.contract import LauncherError
from batch.launchers.slurm.client import AccountingDisabledError, Job, Past
from batch.launchers.slurm.kind import SlurmConfig
from batch.launchers.slurm.launcher import SlurmLauncher
from batch.launchers.slurm.messages.ending import Ended

KEY = b"k" * 32
DOWN = LauncherError("Slurm does not answer.", transient=True)


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Scripted:
    """`down`, `db_down`, `db_disabled`: the verbs fail; `lose`: a submit is done, its answer lost; `hide`: not shown."""

    user = "towpath"

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.rows: dict[int, Job] = {}
        self.pasts: dict[int, Past] = {}
        self.runs: list[Past] = []
        self.calls: list[str] = []
        self.canceled: list[int] = []
        self.down = self.db_down = self.db_disabled = self.lose = self.hide = False
        self.numbers = itertools.count(1)

    async def submit(self, batch, identity) -> int:
        self.calls.append("submit")
        if self.down:
            raise DOWN
        number = next(self.numbers)
        options = dict(batch.options)
        self.rows[number] = Job(
            id=number,
            user=identity.name,
            name=options["job-name"],
            comment=options["comment"],
            state="PENDING",
            reason="Priority",
            partition="cpu",
            priority=100,
            submitted=self.clock(),
        )
        if self.lose:
            raise DOWN
        return number

    async def jobs(self, name: str = "") -> list[Job]:
        self.calls.append("jobs")
        if self.down:
            raise DOWN
        return [] if self.hide else [row for row in self.rows.values() if not name or row.name == name]

    async def past(self, *, ids=(), name="", since, runs=False) -> list[Past]:
        self.calls.append("runs" if runs else "past")
        if self.db_down:
            raise DOWN
        if self.db_disabled:
            raise AccountingDisabledError
        rows = [*(self.runs if runs else ()), *self.pasts.values()]
        return [
            one
            for one in rows
            if (not ids or one.id in ids) and (not name or one.name == name) and (one.submitted or 0) >= since - 10**6
        ]

    async def cancel(self, job, name, identity) -> None:
        self.calls.append("cancel")
        if self.down:
            raise DOWN
        row = self.rows.get(job)
        if row is None or (row.name, row.user) != (name, identity.name):
            return
        self.canceled.append(job)
        if job in self.rows:
            self.step(job, "CANCELLED", ends=self.clock())

    def source(self):
        raise NotImplementedError

    async def close(self) -> None:
        self.calls.append("close")

    # --- what happens on the cluster

    def step(self, number: int, state: str, **more) -> None:
        self.rows[number] = replace(self.rows[number], state=state, **more)

    def end(self, number: int, state: str, *, forget: bool = True, told: bool = True, **facts) -> None:
        """End the job: slurmctld forgets it, and accounting has it."""
        row = self.rows[number]
        if told:
            self.pasts[number] = Past(
                id=number,
                user=row.user,
                name=row.name,
                comment=row.comment,
                state=state,
                facts=Ended(**{"state": state, "code": 0, **facts}),
                submitted=row.submitted,
                started=row.started,
                ended=self.clock(),
            )
        if forget:
            del self.rows[number]
        else:
            self.step(number, state, exit_code=facts.get("code", 0), signal=facts.get("signal", 0), ends=self.clock())

    def forge(self, number: int, **more) -> int:
        """Add a user's own job with parts of another one."""
        made = next(self.numbers)
        self.rows[made] = replace(self.rows[number], id=made, **more)
        return made


def make(client: Scripted, clock: Clock, **more) -> SlurmLauncher:
    async def offer():
        raise NotImplementedError

    return SlurmLauncher("slurm", SlurmConfig(**more), client, key=KEY, starter="pass", offer=offer, clock=clock)
