"""What is remembered of jobs between two polls, and what accounting knows about them.

Owns these two records, and how accounting completes an end that slurmctld has shown. Pure. Does not know
when which of the two is asked (`batch.launchers.slurm.launcher`).
"""

from msgspec import Struct
from msgspec.structs import replace

from batch.contract import JobView
from batch.launchers.slurm.client import Past


class Known(Struct, kw_only=True):
    """What is remembered of an attempt between polls."""

    id: int
    view: JobView
    asked: float
    """When the server was requested, or earlier."""
    seen: bool = False
    since: float = 0.0
    """Since when it has been missing, or has ended without a record in accounting; 0: it is not."""
    told: bool = False
    """Whether the accounting has told how it ended, or never will."""


def with_word(seen: JobView, full: JobView) -> JobView:
    """An end that slurmctld has shown, with what accounting knows about it.

    slurmdbd's REST answer of 22.05 has no exit codes; slurmctld has them.
    """
    code = seen.exit_code if full.exit_code is None else full.exit_code
    return replace(seen, exit_code=code, ending=full.ending or seen.ending)


class Word(Struct, kw_only=True):
    """What the accounting said. `about`: of which attempts, None: of all; `whole`: of all that ended lately.

    `pending`: it is still thinking. `disabled`: there is none on this cluster.
    """

    pasts: dict[str, Past] = {}
    about: frozenset[str] | None = frozenset()
    whole: bool = False
    pending: bool = False
    disabled: bool = False

    def answers(self, attempt: str) -> bool:
        """Whether it has spoken of this attempt, if only by leaving it out."""
        return self.about is None or attempt in self.about

    def may_come(self, attempt: str) -> bool:
        """Whether it may still tell of the attempt's end, a little later."""
        return not self.disabled and (self.pending or self.answers(attempt))
