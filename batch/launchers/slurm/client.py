"""What the launcher asks of Slurm, whichever way it is spoken to: a few verbs, and the rows that they answer with.

Owns the shape of a job in the queue and of one in the accounting, with Slurm's own words in them. Does not know how
Slurm is reached (`cli`, `rest`, `pyslurm`), and which jobs are ours (`batch.launchers.slurm.view`).
"""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from batch.launchers.slurm.catalog.gather import Source
from batch.launchers.slurm.identity import Identity
from batch.launchers.slurm.messages.ending import Ended
from batch.launchers.slurm.script import Batch


class Job(Struct, frozen=True, kw_only=True):
    """One job as slurmctld shows it. Times are seconds since the epoch, None while not known.

    `state` is Slurm's word in capitals (`PENDING`; a flag such as COMPLETING where it has one). `started` is when it
    began, `expected` when a pending one is thought to begin, `ends` when it ended or will be ended. `exit_code` and
    `signal` are those of the script, for a job that has ended. `restarts`: how often it was requeued. `node`: the first
    one, where the script runs. `memory`: bytes that it asked for on each node; `limit`: its walltime in seconds.
    """

    id: int
    user: str
    name: str
    comment: str
    state: str
    reason: str = ""
    partition: str = ""
    account: str = ""
    qos: str = ""
    priority: int = 0
    submitted: float | None = None
    started: float | None = None
    expected: float | None = None
    ends: float | None = None
    exit_code: int | None = None
    signal: int = 0
    restarts: int = 0
    node: str = ""
    memory: int | None = None
    limit: float | None = None


class Past(Struct, frozen=True, kw_only=True):
    """One job as the accounting shows it, its steps taken together. `facts` None: it has not ended there.

    `state` is Slurm's word in capitals, without what follows. `comment` is empty where the site does not store it
    (AccountingStoreFlags=job_comment).
    """

    id: int
    user: str
    name: str
    comment: str = ""
    state: str
    facts: Ended | None = None
    submitted: float | None = None
    started: float | None = None
    ended: float | None = None
    node: str = ""


class AccountingDisabledError(Exception):
    """There is no accounting on this cluster at all: what has left the queue is known no more."""


class JobGoneError(Exception):
    """No such job waits: it runs, has ended, or was never there."""


class Client(Protocol):
    """One way to speak to Slurm. Every verb is one request, or a few, and may raise LauncherError."""

    @property
    def user(self) -> str:
        """The account by which the queue is looked at: with PrivateData, others may not see every job."""
        ...

    async def submit(self, batch: Batch, identity: Identity) -> int:
        """Submit the job as that account; its id."""
        ...

    async def jobs(self, name: str = "") -> list[Job]:
        """All jobs that slurmctld knows, of all users and states; with `name`: those of that very name."""
        ...

    async def past(self, *, ids: Sequence[int] = (), name: str = "", since: float, runs: bool = False) -> list[Past]:
        """What the accounting knows of these jobs, or of all, that were there after `since`.

        `runs`: of a job that was requeued its earlier runs, too, each in a row of its own. Raises
        AccountingDisabledError where there is none.
        """
        ...

    async def cancel(self, job: int, name: str, identity: Identity) -> None:
        """End the job with this id, name and account: SIGTERM to all of it, SIGKILL after Slurm's KillWait.

        Slurm may have given the id to another job: one with another name or account is left alone. Neither that nor a
        job that is gone is an error.
        """
        ...

    async def update(self, job: int, name: str, options: Sequence[tuple[str, str]], identity: Identity) -> bool:
        """Give the waiting job with this id, name and account these options; False: this client cannot.

        Raises LauncherError where Slurm refuses them, and JobGoneError where no such job waits any more.
        """
        ...

    def source(self) -> Source:
        """Where the catalog is gathered from."""
        ...

    async def close(self) -> None:
        """Let go of connections and helpers."""
        ...
