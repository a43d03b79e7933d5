"""What the launcher remembers of jobs between two polls, and what accounting has reported about them.

Owns these two records, and how accounting completes an end that slurmctld has shown. Pure. Does not know when
slurmctld or accounting is queried (`batch.launchers.slurm.launcher`).
"""

from msgspec import Struct
from msgspec.structs import replace

from batch.contract import JobView
from batch.launchers.slurm.client import Past


class Known(Struct, kw_only=True):
    """What is remembered of an attempt between polls."""

    id: int
    view: JobView
    requested: float
    """When the server was requested, or earlier."""
    seen: bool = False
    since: float = 0.0
    """Since when the job has been missing, or has ended without a record in accounting; 0: neither."""
    settled: bool = False
    """Whether accounting has reported how the job ended, or never will."""


def with_accounting(seen: JobView, full: JobView) -> JobView:
    """Return an end that slurmctld has shown, completed with what accounting knows about it.

    The REST response of slurmdbd 22.05 has no exit codes; the one of slurmctld has.
    """
    code = seen.exit_code if full.exit_code is None else full.exit_code
    return replace(seen, exit_code=code, ending=full.ending or seen.ending)


class AccountingAnswer(Struct, kw_only=True):
    """What accounting has reported: the jobs of `attempts` (None: all attempts) that it knows.

    `whole`: it was asked about every job that ended lately. `pending`: it has not answered yet. `disabled`: this
    cluster has no accounting.
    """

    pasts: dict[str, Past] = {}
    attempts: frozenset[str] | None = frozenset()
    whole: bool = False
    pending: bool = False
    disabled: bool = False

    def covers(self, attempt: str) -> bool:
        """Return whether it is about this attempt, even if accounting has no record of it."""
        return self.attempts is None or attempt in self.attempts

    def may_follow(self, attempt: str) -> bool:
        """Return whether accounting may still report the attempt's end, a little later."""
        return not self.disabled and (self.pending or self.covers(attempt))
