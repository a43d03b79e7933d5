"""The goals of the benchmark on a cluster. Data."""

from tests.bench.goals import Goal
from tests.bench_slurm.hubs import PEER, TOWPATH

SAME = 1.25
"""Two counts of a minute that differ by less count as equal, as the mean of two rounds: one poll more or less (of
three) may fall into one of the minutes. A message per watcher would be counted 200 times."""

GOALS = (
    Goal("messages to slurmctld, 200 users watching, against 1", "watch", "ratio", TOWPATH, "", SAME, False),
    Goal("messages, 50 users start and work, against JupyterHub", "work", "rpcs", TOWPATH, PEER, 1 / 20, False),
    Goal("click on Start to JupyterLab, against JupyterHub", "lab", "time", TOWPATH, PEER, 0.7, False),
    Goal("app answers to the browser's redirect, p95", "ready", "p95", TOWPATH, "", 0.3, False, "ms"),
    Goal("200 jobs started within one second, all queued, none twice", "flood", "time", TOWPATH, "", 10.0, False, "s"),
    Goal(
        "small HTTP through TLS to the node, one worker, against CHP without",
        "proxy",
        "small",
        TOWPATH,
        PEER,
        4.0,
        True,
    ),
    Goal(
        "1 MB bodies through TLS to the node, one worker, against CHP without",
        "proxy",
        "body",
        TOWPATH,
        PEER,
        1.7,
        True,
    ),
)
