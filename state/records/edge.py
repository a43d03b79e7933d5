"""The report of the edge's check, as it is stored. Values only."""

from msgspec import Struct


class EdgeFinding(Struct, frozen=True, kw_only=True):
    """One thing that the hub needs of its edge. `good` with `warning`: it works, with a drawback.

    `check` names it (`gateway.edge.diagnosis`). `text` describes the problem, `fix` the solution.
    """

    check: str
    good: bool
    text: str
    fix: str = ""
    warning: bool = False


class EdgeReport(Struct, frozen=True, kw_only=True):
    """One run of the check. `time`: seconds since the epoch. `url`: the public URL that was asked."""

    time: float
    url: str
    findings: tuple[EdgeFinding, ...]

    @property
    def problems(self) -> tuple[EdgeFinding, ...]:
        """What an admin should know."""
        return tuple(finding for finding in self.findings if finding.warning or not finding.good)
