"""Writes docs/performance.md: the goals, the figures and the method. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.goals import ALL, GOALS, ONE, Goal, verdict
from tests.bench.rounds import Run
from tests.bench.stats import by_target, ratios, spread, table, written

HEADING = """# Performance

Written by `make bench` in its last run. The benchmark does the same work with Towpath and with its peers, in one run, on
one machine, and compares them within each round. Read the ratios; the figures depend on the machine.

"""

METHOD = """## How it was measured

- In every round all targets take turns (A B C, then B C A, ...). A ratio is taken within each round, and the median of
  the rounds is reported. Figures are medians, with minimum and maximum in brackets.
- Towpath is `towpath serve` with a configuration file and all features on: the session cookie is checked, the route is
  looked up, and activity is recorded. {publish} `towpath-1` has one worker, `towpath-all` one per core. `towpath` is
  the latter, measured as a hub.
- CHP {chp} has its routes set through its API and checks nothing. nginx has one worker, keep-alive connections to the
  app and no access log, and checks nothing. `nginx` has default buffering, and the goals compare with this one;
  `nginx-tuned` has large buffers, streams uploads and writes no temporary files. `direct` is the app without a proxy,
  which shows the limit of the load itself.
- Load: wrk with one thread for small HTTP (24 bytes of JSON); our own clients on uvloop for bodies, and on uvloop and
  picows for WebSocket echo (each connection sends its next message when the last one has returned). Load, proxy and app
  share the cores. Everything is on loopback, without TLS.
- All apps are on ports that every user of the machine can reach (Towpath: `shared_node_port = true`). By default,
  Towpath runs an app on a port in a network of its own, behind a relay. Three rounds of that found 5.3x (small HTTP),
  3.1x (1 MB down) and 1.1x (1 MB up) of CHP, which has no relay:
  `make bench ARGS="--only http-32 --only body-1m --targets chp,towpath-1 --rounds 3 --isolated"`.
- MB/s are 10^6 bytes; bodies and large messages are 2^20 and 100 * 2^20 bytes. Growth is the peak resident memory
  during the transfers (VmHWM, reset before) minus the memory before, of the process that grew most; in MB of 2^20
  bytes.
- Starts at once: the users exist already. For each, one `POST /hub/api/users/NAME/server`, all at the same time; then
  the progress stream is followed until `ready`, and the app's response is fetched through the proxy. The app is
  `tests/bench/stub.py` for both hubs. JupyterHub {jupyterhub} has SQLite, its simple local spawner, CHP, no limit on
  concurrent starts, and only warnings in its log.
- Sign-ins with a provider: 16 browsers sign in repeatedly. A round trip is the hub's sign-in page (for JupyterHub the
  page after one redirect, `/hub/oauth_login`), which redirects to the provider, and the return with a code, which opens
  a session. Both hubs use the same provider (`tests/bench/idp.py`, which checks nothing and signs with ES256):
  JupyterHub with oauthenticator's generic class, which requests tokens and then userinfo; Towpath requests only tokens
  and checks their signature and claims.
- `GET /hub/api/users/NAME` and `?limit=200` (200 users, no server running): wrk, 32 connections, an admin's API token.
- towpath-10k: a hub with 10,000 users and 2,000 ready servers with their routes in its store, compared with one that
  has only the admin.
- A gateway's start: `towpath gateway` with one worker on an empty store, from exec until `GET /hub/health` is answered
  with 200, beside that of another checkout with the same interpreter and packages. It is measured only with
  `--against CHECKOUT`: `git worktree add CHECKOUT COMMIT`, then
  `make bench ARGS="--only gateway-start --against CHECKOUT"`.
- Stolen CPU time is read from /proc/stat around each measurement. A round with more than {threshold:.0%} of it is
  repeated, at most twice (and {budget} times in a run), and the best is used.

"""

PUBLISH = {
    "api": "The app behind it is a server started through the REST API.",
    "store": "The app behind it is the one of the peers, with its route written to the feed.",
}


@dataclass(frozen=True)
class Line:
    """One scenario of the report: its title, and metric → unit."""

    scenario: str
    title: str
    metrics: dict[str, str]


def _range(figures: Iterable[float], unit: str) -> str:
    found = spread(figures)
    return f"{written(found.middle, unit)} [{written(found.least, unit)}-{written(found.most, unit)}]"


def goals_table(run: Run, goals: Sequence[Goal] = GOALS) -> str:
    """Return the table of goals and results."""
    rows = []
    for goal in goals:
        result = verdict(goal, run.samples)
        if result.found is None:
            rows.append([goal.title, goal.bound_text, "-", "-", "not measured"])
            continue
        found = result.found
        middle = found.middle if goal.against else found.most
        between = f"{written(found.least, goal.unit)} to {written(found.most, goal.unit)}"
        rows.append([goal.title, goal.bound_text, goal.shown(middle), between, "yes" if result.met else "no"])
    return table(["goal", "wanted", "found", "rounds", "met"], rows)


def figures_table(run: Run, lines: list[Line], names: list[str], pairs: list[tuple[str, str]]) -> str:
    """Return a row per scenario and metric, with a column per target, and per pair the median ratio of the rounds."""
    rows = []
    for line in lines:
        for metric, unit in line.metrics.items():
            figures = by_target(run.samples, line.scenario, metric)
            if not figures:
                continue
            row = [f"{line.title}, {metric} ({unit})"]
            row += [_range(figures[name].values(), unit) if name in figures else "-" for name in names]
            for of, against in pairs:
                found = ratios(figures, of, against) if metric != "growth" else []
                row.append(f"{written(median(found), 'x')}x" if found else "-")
            rows.append(row)
    return table(["", *names, *(f"{of} / {against}" for of, against in pairs)], rows)


def noise_table(run: Run, lines: list[Line]) -> str:
    """Return a row per scenario: stolen time, and the widest span of a target's rates over the rounds."""
    rows = []
    for line in lines:
        steals = [sample.steal for sample in run.samples if sample.scenario == line.scenario]
        metric = next(iter(line.metrics))
        figures = by_target(run.samples, line.scenario, metric)
        if not steals or not figures:
            continue
        spans = [(spread(known.values()), name) for name, known in figures.items()]
        widest, name = max(((s.most - s.least) / s.middle if s.middle else 0.0, name) for s, name in spans)
        rows.append([line.title, f"{median(steals):.0%}", f"{max(steals):.0%}", f"{widest:.0%} ({name})"])
    return table(["", "stolen, median", "stolen, maximum", "widest span of a target (first metric)"], rows)


def text(
    run: Run, machine: dict[str, str], *, data: list[Line], hub: list[Line], memory: list[list[str]], rounds: int,
    seconds: float, command: str, publish: str,
) -> str:  # fmt: skip
    """Return the whole page."""
    names = [
        name
        for name in ("direct", "nginx", "nginx-tuned", "chp", ONE, ALL)
        if any(s.target == name for s in run.samples)
    ]
    pairs = [(ONE, "chp"), (ONE, "nginx"), (ONE, "nginx-tuned"), (ALL, "chp")]
    parts = [
        HEADING,
        "## Goals\n\n",
        goals_table(run),
        "\n\n## The data plane\n\n",
        figures_table(run, data, names, pairs if ONE in names else []),
        "\n\n## The hub\n\n",
        figures_table(
            run,
            hub,
            [
                "jupyterhub",
                "towpath",
                "towpath-10k",
                *(["before"] if any(s.target == "before" for s in run.samples) else []),
            ],
            [("towpath", "jupyterhub"), ("towpath-10k", "towpath")],
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
        f"## Noise\n\n{rounds} rounds of {seconds:g} s per measurement; {run.repeated} were repeated for stolen time.\n\n",
        noise_table(run, [*data, *hub]),
        "\n\n",
    ]
    if run.notes:
        parts += ["## Failures\n\n", *(f"- {note}\n" for note in run.notes), "\n"]
    parts.append(f"## Run it again\n\n    {command}\n")
    return "".join(parts)
