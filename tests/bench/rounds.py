"""The rounds: every target does the same work in turn (A B C A B C ...), so that a slow minute affects all.

Owns the order, the samples, repeating rounds with stolen time, and the list of failures.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tests.bench.machine import StealMeter
from tests.bench.process import BenchError
from tests.bench.stats import Sample, written

T = TypeVar("T")
AGAIN = 2  # repeats of a round with stolen time


@dataclass
class Run:
    """The results of a run so far. `threshold`: the share of stolen CPU time above which a round is repeated."""

    threshold: float
    samples: list[Sample] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    repeated: int = 0
    budget: int = 20  # repeats of the whole run; on a machine that is always busy more would not help

    def note(self, text: str) -> None:
        """Add a note for the report."""
        line = " ".join(text.split())[:400]
        print("  !", line, flush=True)
        if line not in self.notes:
            self.notes.append(line)

    async def round(
        self, scenario: str, metrics: dict[str, str], number: int, targets: Sequence[T],
        work: Callable[[T], Awaitable[dict[str, float]]], *, again: int = AGAIN,
    ) -> None:  # fmt: skip
        """Run one round of one scenario. A target that fails is noted and has no sample."""
        best: list[Sample] = []
        for attempt in range(1 + again):
            found = [await self._one(scenario, number, target, work) for target in _turned(targets, number)]
            samples = [sample for sample in found if sample.values]
            if len(samples) > len(best) or (len(samples) == len(best) and _worst(samples) < _worst(best)):
                best = samples
            if not samples or _worst(samples) <= self.threshold or attempt == again or self.repeated >= self.budget:
                break
            self.repeated += 1
        self.samples += best
        for sample in sorted(best, key=lambda one: one.target):
            figures = "  ".join(f"{key} {written(sample.values[key], unit)} {unit}" for key, unit in metrics.items()
                                if key in sample.values)  # fmt: skip
            print(
                f"  {scenario:15} round {number + 1}  {sample.target:13} {figures}  steal {sample.steal:.0%}",
                flush=True,
            )

    async def _one(
        self, scenario: str, number: int, target: T, work: Callable[[T], Awaitable[dict[str, float]]]
    ) -> Sample:
        name = str(getattr(target, "name", target))
        meter = StealMeter()
        try:
            values = await work(target)
        except (BenchError, OSError, EOFError, ValueError) as fault:
            self.note(f"{name} failed in {scenario}: {fault}")
            values = {}
        return Sample(scenario, name, number, values, meter.share())


def _turned(targets: Sequence[T], number: int) -> list[T]:
    """Rotate the targets, so that another one begins in each round."""
    first = number % len(targets) if targets else 0
    return [*targets[first:], *targets[:first]]


def _worst(samples: list[Sample]) -> float:
    return max((sample.steal for sample in samples), default=1.0)
