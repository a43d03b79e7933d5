"""Writes the second part of docs/performance.md: the goals, figures, messages to slurmctld, and the method. Pure."""

from tests.bench.report import Line, figures_table, goals_table, noise_table
from tests.bench.rounds import Run
from tests.bench.stats import table
from tests.bench_slurm.goals import GOALS, SAME
from tests.bench_slurm.hubs import PEER, TOWPATH
from tests.bench_slurm.rpcs import Calls
from tests.bench_slurm.scenarios import Workload

TITLES = {"watch": "all waiting and watched, in {window:g} s", "work": "starting and working, in {seconds:g} s"}

TEXT = """## On a Slurm cluster

Written by `make bench-slurm` in its last run: Towpath, and JupyterHub with batchspawner, on one real Slurm, in turn in
every round.

### Goals on a cluster

{goals}

### Figures

{figures}

### Messages to slurmctld

The counts of the last round, by type of message (sdiag), without those that slurmd, slurmstepd and slurmdbd send by
themselves, and without the benchmark's own sdiag.

{calls}

### How it was measured on a cluster

- The cluster is `deploy/devcluster`: slurmctld, slurmdbd with MariaDB, slurmrestd and three slurmd on this machine,
  whose nodes claim {cpus} CPUs each. There are {users} Unix accounts; jobs are submitted and run as these. Both hubs run
  as root on the cluster's login host, with an empty database, and one at a time when messages are counted.
- JupyterHub {jupyterhub} has SQLite and CHP, and no limit on concurrent starts. batchspawner {batchspawner} has its
  defaults: `sudo -E -u NAME` before each command, its own job script (with `srun`), a poll of each job every 0.5 s
  during its start (`startup_poll_interval`) and every 30 s afterwards (`Spawner.poll_interval`). Configured are the
  partition, one core, the time limit, and that jobs listen on their node's address.
- Towpath is `towpath serve` with the client `cli`, submitting with setuid. Jobs report to its listener for reports over
  TLS. Nothing else is configured except one profile per app.
- The app is `tests/bench/stub.py`, except for the start of JupyterLab, which is {jupyterlab} for both. For JupyterHub
  the stub reports its port as `batchspawner-singleuser` does, without that program's second of imports.
- Watching: {users} servers wait in a partition where nothing starts, with {jobs:,} jobs in Slurm in total. A page is its
  event stream. Messages are counted for {window:g} s after {settle:g} s of rest. A ratio below {same:.2f} counts as
  equal.
- Starting and working: {workers} users click at the same time, and each app's page is requested every 5 s. Messages are
  counted from the click until {seconds:g} s later. Stopping is not counted.
- Click to JupyterLab: `POST /hub/api/users/NAME/server`, the event stream until `ready`, and `/user/NAME/lab` until it
  answers 200, while nothing else runs. The goal compares the median of the rounds' ratios.
- App answers to redirect: the app records the time of its first response, and the event `ready` redirects the browser.
  {starts} starts per round, one after another. The time until a hub first contacts an app that is ready is not included.
- An nginx in a job: small responses on 32 connections (wrk), and bodies of 1 MB on 8, {load:g} s each, with a token.
  Towpath has one worker and reaches the job with mutual TLS (`direct`); CHP is JupyterHub's proxy, one process, and
  reaches the same app without TLS.
- Started within one second: {users} `POST`s spread over a second, with {others:,} jobs of others queued, until squeue
  shows a job for each, and 5 s later still exactly one job each.

### The cluster's machine

| | |
|---|---|
{machine}

{rounds}; at most {stolen:.0%} of a round's CPU time was stolen.

{noise}

{failed}### Run it again on a cluster

    {command}
"""


def calls_table(found: dict[tuple[str, str], Calls], workload: Workload) -> str:
    """Return a table with a row per message type and a column per hub and scenario."""
    columns = [(scenario, hub) for scenario in TITLES for hub in (PEER, TOWPATH) if (scenario, hub) in found]
    kinds = sorted({kind for column in columns for kind in found[column]},
                   key=lambda kind: -sum(found[column][kind] for column in columns))  # fmt: skip
    head = [
        f"{hub}, {TITLES[scenario].format(window=workload.window, seconds=workload.seconds)}"
        for scenario, hub in columns
    ]
    rows = [[f"`{kind}`", *(f"{found[column][kind]:,}" for column in columns)] for kind in kinds]
    return table(["message", *head], [*rows, ["all", *(f"{found[column].total():,}" for column in columns)]])


def text(
    run: Run, lines: list[Line], workload: Workload, machine: dict[str, str], *, rounds: str, command: str, cpus: int
) -> str:
    """Return this part of the page."""
    return TEXT.format(
        goals=goals_table(run, GOALS), figures=figures_table(
            run, lines, [PEER, TOWPATH], [(TOWPATH, PEER)]
        ),
        calls=calls_table(workload.calls, workload), cpus=cpus, users=len(workload.users), jobs=workload.jobs,
        others=workload.jobs - len(workload.users), workers=workload.workers, seconds=workload.seconds, window=workload.window,
        settle=workload.settle, starts=workload.starts, load=workload.load, same=SAME,
        jupyterhub=machine["JupyterHub"], batchspawner=machine["batchspawner"], jupyterlab=f"JupyterLab {machine['JupyterLab']}",
        machine="\n".join(f"| {key} | {value} |" for key, value in machine.items()),
        rounds=rounds, stolen=max((sample.steal for sample in run.samples), default=0.0), noise=noise_table(run, lines),
        failed="".join(["### Failures on a cluster\n\n", *(f"- {note}\n" for note in run.notes), "\n"]) if run.notes else "",
        command=command,
    )  # fmt: skip
