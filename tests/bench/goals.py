"""The goals of the benchmark, and whether a run met them. Pure."""

from dataclasses import dataclass

from tests.bench.stats import Sample, Spread, by_target, ratios, spread, written

ONE = "towpath-1"
ALL = "towpath-all"
HUB = "towpath"
CROWD = "towpath-10k"


@dataclass(frozen=True)
class Goal:
    """A bound on the ratio of two targets or, if `against` is empty, on the worst figure of one."""

    title: str
    scenario: str
    metric: str
    of: str
    against: str
    bound: float
    at_least: bool
    unit: str = "x"
    """Unit of the figure that is compared; `x` for a ratio."""

    @property
    def bound_text(self) -> str:
        """The bound as text, such as `>= 5.00x`."""
        sign = ">=" if self.at_least else "<=" if self.against else "<"
        return f"{sign} {self.shown(self.bound)}"

    def shown(self, figure: float) -> str:
        """Return a figure with its unit."""
        return f"{written(figure, self.unit)}{'' if self.unit == 'x' else ' '}{self.unit}"


@dataclass(frozen=True)
class Verdict:
    """The result of a goal. `found` is None if the run did not measure it."""

    goal: Goal
    found: Spread | None
    met: bool


GOALS = (
    Goal("small HTTP, 32 connections, against CHP", "http-32", "rate", ONE, "chp", 5.0, True),
    Goal("small HTTP, 32 connections, against nginx", "http-32", "rate", ONE, "nginx", 0.5, True),
    Goal("small HTTP, 32 connections, p99 against CHP", "http-32", "p99", ONE, "chp", 1 / 3, False),
    Goal("1 MB bodies down, against CHP", "body-1m-down", "rate", ONE, "chp", 1.5, True),
    Goal("1 MB bodies down, against nginx", "body-1m-down", "rate", ONE, "nginx", 1.3, True),
    Goal("1 MB bodies up, against CHP", "body-1m-up", "rate", ONE, "chp", 1.5, True),
    Goal("1 MB bodies up, against nginx", "body-1m-up", "rate", ONE, "nginx", 1.3, True),
    Goal("WebSocket 200 B x 16, one worker, against CHP", "ws-200b-16", "rate", ONE, "chp", 0.7, True),
    Goal("WebSocket 200 B x 16, one worker, p99 against CHP", "ws-200b-16", "p99", ONE, "chp", 1.0, False),
    Goal("WebSocket 200 B x 16, all cores, against CHP", "ws-200b-16", "rate", ALL, "chp", 1.0, True),
    Goal("WebSocket 200 B x 16, all cores, p99 against CHP", "ws-200b-16", "p99", ALL, "chp", 1.0, False),
    Goal("WebSocket 1 MB x 4, one worker, against CHP", "ws-1m-4", "rate", ONE, "chp", 1.5, True),
    Goal("200 servers at once, time against JupyterHub", "spawn", "time", HUB, "jupyterhub", 0.25, False),
    Goal("GET /hub/api/users/x, against JupyterHub", "api-user", "rate", HUB, "jupyterhub", 15.0, True),
    Goal("GET /hub/api/users?limit=200, against JupyterHub", "api-users", "rate", HUB, "jupyterhub", 20.0, True),
    Goal(
        "/hub/health with 10,000 users and 2,000 servers, against none", "crowd-health", "rate", CROWD, HUB, 0.8, True
    ),
    Goal("/hub/home with 10,000 users and 2,000 servers, against none", "crowd-home", "rate", CROWD, HUB, 0.8, True),
    Goal("sign-in with a provider, against JupyterHub", "sign-in", "rate", HUB, "jupyterhub", 5.0, True),
    Goal("a gateway, exec to first answer, against --against", "gateway-start", "time", HUB, "before", 0.8, False),
    Goal("100 MB down, growth of a worker", "body-100m-down", "growth", ONE, "", 16 * 2**20, False, "MB"),
    Goal("100 MB up, growth of a worker", "body-100m-up", "growth", ONE, "", 16 * 2**20, False, "MB"),
)


def verdict(goal: Goal, samples: list[Sample]) -> Verdict:
    """Compare a goal with the samples: a ratio by the median of its rounds, a figure without a peer by its worst round."""
    figures = by_target(samples, goal.scenario, goal.metric)
    alone = list(figures.get(goal.of, {}).values())
    values = ratios(figures, goal.of, goal.against) if goal.against else alone
    if not values:
        return Verdict(goal, None, met=False)
    found = spread(values)
    if not goal.against:
        return Verdict(goal, found, met=found.most < goal.bound)
    met = found.middle >= goal.bound if goal.at_least else found.middle <= goal.bound
    return Verdict(goal, found, met)
