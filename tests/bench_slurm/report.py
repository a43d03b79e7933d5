"""The second part of docs/performance.md: the goals, all figures, who asked what, and how it was found. Pure."""

from tests.bench.report import Line, figures_table, goals_table, noise_table
from tests.bench.rounds import Run
from tests.bench.stats import table
from tests.bench_slurm.goals import GOALS, SAME
from tests.bench_slurm.hubs import PEER, TOWPATH
from tests.bench_slurm.rpcs import Calls
from tests.bench_slurm.scenarios import Ground

WORDS = {"watch": "all waiting and watched, in {window:g} s", "work": "starting and working, in {seconds:g} s"}

TEXT = """## On a Slurm cluster

Written by `make bench-slurm`; this is the last run. Towpath and JupyterHub with batchspawner, on one real Slurm, in
turn in every round.

### What it must reach on a cluster

{goals}

### The figures

{figures}

### What slurmctld was asked

The count of the last round, by message (sdiag). Left out: what slurmd, slurmstepd and slurmdbd say by themselves, and
the benchmark's own sdiag.

{calls}

### How it was measured on a cluster

- The cluster is `deploy/devcluster`: slurmctld, slurmdbd with MariaDB, slurmrestd and three slurmd on this machine,
  whose nodes claim {cpus} CPUs each. {people} Unix accounts; jobs are submitted as these, and run as these. Both hubs run
  as root on the cluster's login host, with an empty database, and one at a time where messages are counted.
- JupyterHub {jupyterhub} has SQLite and CHP, and no limit on concurrent starts. batchspawner {batchspawner} is as it
  comes: `sudo -E -u NAME` before each command, its own job script (with `srun`), a look at each job every 0.5 s while
  it starts (`startup_poll_interval`) and every 30 s after that (`Spawner.poll_interval`). Set: partition, one core,
  walltime, and that jobs listen on their node's own address.
- Towpath is `towpath serve` with the client `cli`, submitting by setuid; jobs report to its listener
  for reports, by TLS. Nothing else is set but one profile per app.
- The app is `tests/bench/stub.py`, except for the way to JupyterLab, which is {jupyterlab} for both. For JupyterHub it
  tells its port as `batchspawner-singleuser` does, without that program's second of imports.
- Watching: {people} servers wait in a partition where nothing starts, {jobs:,} jobs are known in all; a page is its
  event stream. Counted for {window:g} s after {settle:g} s of rest. Less than {same:.2f}x counts as the same.
- Starting and working: {workers} people click at once; each app is asked for its page every 5 s; counted from the click
  until {seconds:g} s after it. Stopping is not counted.
- To JupyterLab: `POST /hub/api/users/NAME/server`, the event stream until `ready`, and `/user/NAME/lab` until it is
  there (200); nothing else runs. Judged by the median of the rounds' ratios.
- App answers to redirect: the app writes down when it first answered anybody; the event stream's `ready` is what sends
  the browser on. {starts} starts a round, one by one. How long a hub lets an app that is up wait for its first question
  is not in it.
- Asked for in one second: {people} `POST`s spread over it, with {others:,} jobs of others queued; until squeue shows a job
  for each, and 5 s later still one job each.

### The cluster's machine

| | |
|---|---|
{machine}

{rounds}; at most {stolen:.0%} of a round's CPU time was stolen.

{noise}

{failed}### Again on a cluster

    {command}
"""


def calls_table(found: dict[tuple[str, str], Calls], ground: Ground) -> str:
    """One row per message, a column per hub and scenario."""
    columns = [(scenario, hub) for scenario in WORDS for hub in (PEER, TOWPATH) if (scenario, hub) in found]
    kinds = sorted({kind for column in columns for kind in found[column]},
                   key=lambda kind: -sum(found[column][kind] for column in columns))  # fmt: skip
    head = [
        f"{hub}, {WORDS[scenario].format(window=ground.window, seconds=ground.seconds)}" for scenario, hub in columns
    ]
    rows = [[f"`{kind}`", *(f"{found[column][kind]:,}" for column in columns)] for kind in kinds]
    return table(["message", *head], [*rows, ["all", *(f"{found[column].total():,}" for column in columns)]])


def text(
    run: Run, lines: list[Line], ground: Ground, machine: dict[str, str], *, rounds: str, command: str, cpus: int
) -> str:
    """The chapter."""
    return TEXT.format(
        goals=goals_table(run, GOALS, "issue 3"), figures=figures_table(
            run, lines, [PEER, TOWPATH], [(TOWPATH, PEER)]
        ),
        calls=calls_table(ground.calls, ground), cpus=cpus, people=len(ground.people), jobs=ground.jobs,
        others=ground.jobs - len(ground.people), workers=ground.workers, seconds=ground.seconds, window=ground.window,
        settle=ground.settle, starts=ground.starts, same=SAME,
        jupyterhub=machine["JupyterHub"], batchspawner=machine["batchspawner"], jupyterlab=f"JupyterLab {machine['JupyterLab']}",
        machine="\n".join(f"| {key} | {value} |" for key, value in machine.items()),
        rounds=rounds, stolen=max((sample.steal for sample in run.samples), default=0.0), noise=noise_table(run, lines),
        failed="".join(["### What failed on a cluster\n\n", *(f"- {note}\n" for note in run.notes), "\n"]) if run.notes else "",
        command=command,
    )  # fmt: skip
