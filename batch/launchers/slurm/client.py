"""How the launcher uses Slurm, whatever the client: a few operations, and the rows that they return.

Owns the shape of a job in the queue and of a job in accounting, with Slurm's own words in them. Does not know how Slurm
is reached (`cli`, `rest`, `pyslurm`), and which jobs belong to the hub (`batch.launchers.slurm.view`).
"""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from batch.contract import PartReport
from batch.launchers.slurm.catalog.gather import Source
from batch.launchers.slurm.identity import Identity
from batch.launchers.slurm.messages.ending import Ended
from batch.launchers.slurm.script import Batch


class Job(Struct, frozen=True, kw_only=True):
    """One job as slurmctld shows it. Times are seconds since the epoch, None while not known.

    `state` is Slurm's name of the state in capitals (`PENDING`; a flag such as COMPLETING if it has one). `started` is
    when it began, `expected` when Slurm expects a pending job to begin, `ends` when it ended or will be ended.
    `exit_code` and `signal` are those of the script, for a job that has ended. `restarts`: how often it was requeued.
    `node`: the first one, where the script runs. `memory`: the requested bytes on each node; `limit`: its time limit in
    seconds.
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
    """One job as accounting shows it, with its steps combined. `facts` None: it has not ended there.

    `state` is Slurm's name of the state in capitals, without its details. `comment` is empty if the site does not store
    it (AccountingStoreFlags=job_comment).
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
    """This cluster has no accounting: nothing is known about a job that has left the queue."""


class JobGoneError(Exception):
    """There is no such waiting job: it runs, has ended, or never existed."""


class LoginSite(Protocol):
    """Other machines over which Slurm is reached: they know the accounts, and each of them can fail separately."""

    async def identity(self, user: str) -> Identity:
        """The account of a hub's user. Raises LauncherError, as `identity_of` does."""
        ...

    async def check(self) -> Sequence[PartReport]:
        """See `batch.contract.Launcher`."""
        ...

    def troubles(self) -> Sequence[PartReport]:
        """See `batch.contract.Launcher`."""
        ...


class Client(Protocol):
    """A client of Slurm. Each operation is one request or a few, and may raise LauncherError."""

    @property
    def user(self) -> str:
        """The account that queries the queue: with PrivateData, some accounts cannot see every job."""
        ...

    async def submit(self, batch: Batch, identity: Identity) -> int:
        """Submit the job as that account, and return its id."""
        ...

    async def jobs(self, name: str = "") -> list[Job]:
        """Return all jobs that slurmctld knows, of all users and states; with `name`: only those of that name."""
        ...

    async def past(self, *, ids: Sequence[int] = (), name: str = "", since: float, runs: bool = False) -> list[Past]:
        """Return what accounting knows of these jobs, or of all jobs, that existed after `since`.

        `runs`: also the earlier runs of a requeued job, each in a row of its own. Raises AccountingDisabledError if
        there is no accounting.
        """
        ...

    async def cancel(self, job: int, name: str, identity: Identity) -> None:
        """End the job with this id, name and account: SIGTERM to all of it, SIGKILL after Slurm's KillWait.

        Slurm may have reused the id for another job: a job with another name or account is left alone. Neither that nor
        a job that has ended is an error.
        """
        ...

    async def update(self, job: int, name: str, options: Sequence[tuple[str, str]], identity: Identity) -> bool:
        """Set these options of the waiting job with this id, name and account; False: this client cannot.

        Raises LauncherError if Slurm refuses them, and JobGoneError if no such job waits any more.
        """
        ...

    def source(self) -> Source:
        """Return the source that the catalog is gathered from."""
        ...

    async def close(self) -> None:
        """Close connections and helpers."""
        ...
