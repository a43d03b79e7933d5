"""docs/performance.md: the goals, all figures, and how they were found. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.goals import ALL, GOALS, ONE, Goal, verdict
from tests.bench.rounds import Run
from tests.bench.stats import by_target, ratios, spread, table, written

HEADING = """# Performance

Written by `make bench`; this is the last run. It sends the same work through Towpath and through its peers, in one
run, on one machine, and compares within each round. The ratios say something; the figures depend on the machine.

"""

METHOD = """## How it was measured

- Every target in turn in every round (A B C, then B C A, ...). A ratio is taken within each round; the median of the
  rounds is reported. Figures are medians, with the least and the greatest in brackets.
- Towpath is `towpath serve` with a configuration file and nothing switched off: the session cookie is checked, the
  route looked up, activity noted. {publish} `towpath-1` has one worker, `towpath-all` one per core; `towpath` is the
  latter, asked as a hub.
- CHP {chp} has its routes set through its API; it checks nothing. nginx has one worker, kept-alive upstream
  connections and no access log; it checks nothing. `nginx` buffers bodies as it comes (the
  goals are judged against this one); `nginx-tuned` has large buffers, streams uploads and writes no temporary files.
  `direct` is the app without a proxy: what the load itself can do.
- Load: wrk with one thread for small HTTP (24 bytes of JSON); our own on uvloop for bodies, and on uvloop and picows
  for WebSocket echo (each connection sends its next message when the last has come back). Load, proxy and app share
  the cores. All on loopback, without TLS.
- MB/s are 10^6 bytes; bodies and large messages are 2^20 and 100 * 2^20 bytes. Growth is the high-water mark of
  resident memory during the transfers (VmHWM, reset before) over what the process held before, for the process that
  grew most; in MB of 2^20 bytes.
- Starts at once: the users are made before; then one `POST /hub/api/users/NAME/server` each, all at once, the progress
  stream followed until `ready`, and the app's own answer fetched through the proxy. The app is `tests/bench/stub.py`
  for both. JupyterHub {jupyterhub} has SQLite, its simple local spawner, CHP, no limit on concurrent starts, and
  warnings only in its log.
- Sign-ins by a provider: 16 browsers, each again and again: the hub's sign-in page (JupyterHub's one redirect further,
  at `/hub/oauth_login`), which sends them to the provider, and the way back with a code, which ends in a session. Both
  hubs ask the same provider (`tests/bench/idp.py`, which checks nothing and signs with ES256): JupyterHub by
  oauthenticator's generic class, for tokens and then userinfo; Towpath for tokens alone, whose signature and claims it
  checks.
- `GET /hub/api/users/NAME` and `?limit=200` (200 users, no server runs): wrk, 32 connections, an admin's API token.
- towpath-10k: a hub whose store holds 10,000 users and 2,000 ready servers with their routes, beside one that holds the admin alone.
- Stolen CPU time is read from /proc/stat around each measurement; a round with more than {threshold:.0%} of it is
  repeated, at most twice (and {budget} times in a run), and the best is kept.

"""

PUBLISH = {
    "api": "The app behind it is a server started through the REST API.",
    "store": "The app behind it is the peers' own, its route put into the feed.",
}


@dataclass(frozen=True)
class Line:
    """One scenario of the report: its words, and metric → unit."""

    scenario: str
    words: str
    metrics: dict[str, str]


def _range(figures: Iterable[float], unit: str) -> str:
    found = spread(figures)
    return f"{written(found.middle, unit)} [{written(found.least, unit)}-{written(found.most, unit)}]"


def goals_table(run: Run, goals: Sequence[Goal] = GOALS, of: str = "issues 2 and 4") -> str:
    """What was wanted, and what was found. `of`: whose table it is."""
    rows = []
    for goal in goals:
        judged = verdict(goal, run.samples)
        if judged.found is None:
            rows.append([goal.words, goal.bound_words, "-", "-", "not measured"])
            continue
        found = judged.found
        middle = found.middle if goal.against else found.most
        between = f"{written(found.least, goal.unit)} to {written(found.most, goal.unit)}"
        rows.append([goal.words, goal.bound_words, goal.shown(middle), between, "yes" if judged.met else "no"])
    return table([f"goal ({of})", "wanted", "found", "rounds", "met"], rows)


def figures_table(run: Run, lines: list[Line], names: list[str], pairs: list[tuple[str, str]]) -> str:
    """One row per scenario and metric: a column per target, and one per pair with the median of the rounds' ratios."""
    rows = []
    for line in lines:
        for metric, unit in line.metrics.items():
            figures = by_target(run.samples, line.scenario, metric)
            if not figures:
                continue
            row = [f"{line.words}, {metric} ({unit})"]
            row += [_range(figures[name].values(), unit) if name in figures else "-" for name in names]
            for of, against in pairs:
                found = ratios(figures, of, against) if metric != "growth" else []
                row.append(f"{written(median(found), 'x')}x" if found else "-")
            rows.append(row)
    return table(["", *names, *(f"{of} / {against}" for of, against in pairs)], rows)


def noise_table(run: Run, lines: list[Line]) -> str:
    """Per scenario: stolen time, and the widest span of a target's rates over its rounds."""
    rows = []
    for line in lines:
        steals = [sample.steal for sample in run.samples if sample.scenario == line.scenario]
        metric = next(iter(line.metrics))
        figures = by_target(run.samples, line.scenario, metric)
        if not steals or not figures:
            continue
        spans = [(spread(known.values()), name) for name, known in figures.items()]
        widest, name = max(((s.most - s.least) / s.middle if s.middle else 0.0, name) for s, name in spans)
        rows.append([line.words, f"{median(steals):.0%}", f"{max(steals):.0%}", f"{widest:.0%} ({name})"])
    return table(["", "stolen, median", "stolen, most", "widest span of a target (first metric)"], rows)


def text(
    run: Run, machine: dict[str, str], *, data: list[Line], hub: list[Line], memory: list[list[str]], rounds: int,
    seconds: float, command: str, publish: str,
) -> str:  # fmt: skip
    """The whole page."""
    names = [
        name
        for name in ("direct", "nginx", "nginx-tuned", "chp", ONE, ALL)
        if any(s.target == name for s in run.samples)
    ]
    pairs = [(ONE, "chp"), (ONE, "nginx"), (ONE, "nginx-tuned"), (ALL, "chp")]
    parts = [
        HEADING,
        "## What it must reach\n\n",
        goals_table(run),
        "\n\n## The bytes\n\n",
        figures_table(run, data, names, pairs if ONE in names else []),
        "\n\n## The hub\n\n",
        figures_table(
            run, hub, ["jupyterhub", "towpath", "towpath-10k"], [("towpath", "jupyterhub"), ("towpath-10k", "towpath")]
        ),
        "\n\n",
    ]
    if memory:
        parts += ["## Memory\n\n", table(["process", "routes", "PSS (MB)", "RSS (MB)"], memory), "\n\n"]
    about = "\n".join(f"| {key} | {value} |" for key, value in machine.items())
    parts += [
        METHOD.format(
            chp=machine["configurable-http-proxy"],
            jupyterhub=machine["JupyterHub"],
            threshold=run.threshold,
            budget=run.budget,
            publish=PUBLISH[publish],
        ),
        f"## The machine\n\n| | |\n|---|---|\n{about}\n\n",
        f"## The noise\n\n{rounds} rounds, {seconds:g} s a measurement; {run.repeated} repeated for stolen time.\n\n",
        noise_table(run, [*data, *hub]),
        "\n\n",
    ]
    if run.notes:
        parts += ["## What failed\n\n", *(f"- {note}\n" for note in run.notes), "\n"]
    parts.append(f"## Again\n\n    {command}\n")
    return "".join(parts)
