"""Medians, ratios per round, spreads, and formatting of figures. Pure."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@dataclass(frozen=True)
class Sample:
    """The result of one target in one scenario and round. `steal` is the share of stolen CPU time, 0 to 1."""

    scenario: str
    target: str
    round: int
    values: dict[str, float] = field(default_factory=dict)
    steal: float = 0.0


@dataclass(frozen=True)
class Spread:
    """Median, minimum and maximum of several figures."""

    middle: float
    least: float
    most: float


def spread(figures: Iterable[float]) -> Spread:
    """Return the spread of at least one figure."""
    known = list(figures)
    return Spread(median(known), min(known), max(known))


def by_target(samples: Iterable[Sample], scenario: str, metric: str) -> dict[str, dict[int, float]]:
    """Return target → round → figure for a metric of a scenario. A later sample of a round replaces an earlier one."""
    table: dict[str, dict[int, float]] = defaultdict(dict)
    for sample in samples:
        if sample.scenario == scenario and metric in sample.values:
            table[sample.target][sample.round] = sample.values[metric]
    return dict(table)


def ratios(figures: dict[str, dict[int, float]], of: str, against: str) -> list[float]:
    """Return `of` divided by `against` for each round that has both, without rounds where `against` is 0."""
    mine, theirs = figures.get(of, {}), figures.get(against, {})
    return [mine[number] / theirs[number] for number in sorted(mine) if theirs.get(number)]


def seconds(text: str) -> float:
    """Parse a duration of wrk in seconds: `512.00us`, `1.20ms`, `2.01s`. Raises ValueError."""
    found = re.fullmatch(r"([0-9.]+)(us|ms|s|m)", text)
    if not found:
        raise ValueError(f"not a duration: {text!r}")
    return float(found[1]) * UNITS[found[2]]


def wrk_result(text: str) -> dict[str, float]:
    """Parse rate (requests/s), p50 and p99 (seconds) of `wrk --latency`. Raises ValueError after unexpected responses."""
    for fault in (r"Non-2xx or 3xx responses: \d+", r"Socket errors: .*"):
        if found := re.search(fault, text):
            raise ValueError(found[0])
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", text)
    marks = dict(re.findall(r"^\s+(50|99)%\s+(\S+) *$", text, flags=re.MULTILINE))
    if not rate or set(marks) != {"50", "99"}:
        raise ValueError(f"wrk said: {text[-300:]}")
    return {"rate": float(rate[1]), "p50": seconds(marks["50"]), "p99": seconds(marks["99"])}


def written(figure: float, unit: str) -> str:
    """Format a figure for the report.

    Units: `req/s`, `msg/s`, `s`, `x`, `MB/s` (given bytes/s), `ms` (given seconds), `MB` (given bytes).
    """
    if unit == "MB/s":
        return f"{figure / 1e6:.0f}"
    if unit == "MB":
        return f"{figure / 2**20:.1f}"
    if unit == "ms":
        milliseconds = figure * 1e3
        return f"{milliseconds:.2f}" if milliseconds < 10 else f"{milliseconds:.0f}"
    if unit == "s":
        return f"{figure:.2f}"
    if unit == "x":
        return f"{figure:.2f}" if figure < 10 else f"{figure:.1f}"
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.1f}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table: the first column aligned left, the others right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

    def line(cells: list[str]) -> str:
        padded = [
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join(
        "-" * (width + 2) if not column else "-" * (width + 1) + ":" for column, width in enumerate(widths)
    )
    return "\n".join([line(head), rule + "|", *(line(row) for row in rows)])
