"""The benchmark on a cluster: its calculations, and a minimal run of every scenario with Towpath on a real Slurm."""

import json
import os
import subprocess
import sys

import pytest

from tests.bench.chapters import with_first, with_second
from tests.bench.goals import verdict
from tests.bench.process import ROOT, BenchError
from tests.bench.report import goals_table
from tests.bench.rounds import Run
from tests.bench.stats import Sample
from tests.bench_slurm.goals import GOALS
from tests.bench_slurm.rpcs import Calls, between, calls

SDIAG = """*******************************************************
sdiag output at Mon Nov 25 13:37:00 2026 (1795613820)
*******************************************************
Server thread count:  1
Jobs submitted: 3

Remote Procedure Call statistics by message type
\tREQUEST_PARTITION_INFO                  ( 2009) count:31     ave_time:99     total_time:3096
\tREQUEST_JOB_INFO                        ( 2003) count:12     ave_time:165    total_time:1982
\tMESSAGE_EPILOG_COMPLETE                 ( 6012) count:4      ave_time:90     total_time:361

Remote Procedure Call statistics by user
\troot            (       0) count:47     ave_time:118    total_time:5550

Pending RPC statistics
\tNo pending RPCs
"""


def test_the_output_of_sdiag_is_parsed():
    assert calls(SDIAG) == {"REQUEST_PARTITION_INFO": 31, "REQUEST_JOB_INFO": 12, "MESSAGE_EPILOG_COMPLETE": 4}


def test_other_output_than_sdiags_is_an_error():
    with pytest.raises(BenchError, match="unexpected output"):
        calls("slurm_get_statistics: Unable to contact slurm controller")


def test_messages_of_daemons_and_of_the_benchmark_do_not_count():
    before = Calls(REQUEST_JOB_INFO=2, MESSAGE_EPILOG_COMPLETE=1)
    after = Calls(REQUEST_JOB_INFO=5, MESSAGE_EPILOG_COMPLETE=9, REQUEST_STATS_INFO=1, REQUEST_KILL_JOB=1)
    assert between(before, after) == {"REQUEST_JOB_INFO": 3, "REQUEST_KILL_JOB": 1}


def test_counts_that_were_reset_are_an_error():
    with pytest.raises(BenchError, match="were reset"):
        between(Calls(REQUEST_JOB_INFO=5), Calls(REQUEST_JOB_INFO=1))


def test_each_benchmark_replaces_its_own_part_of_the_page():
    page = with_second(with_first("", "# First\n"), "## Second\n")
    assert with_second(page, "## Later\n") == page.replace("Second", "Later")
    assert with_first(page, "# Newer\n") == page.replace("First", "Newer")


def test_the_goals_on_a_cluster_are_compared_with_the_samples():
    samples = [
        Sample("work", "jupyterhub", 0, {"rpcs": 1000}),
        Sample("work", "towpath", 0, {"rpcs": 40}),
        Sample("watch", "towpath", 0, {"ratio": 1.02}),
        Sample("flood", "towpath", 0, {"time": 11.0}),
        Sample("proxy", "jupyterhub", 0, {"small": 1000, "body": 1e8}),
        Sample("proxy", "towpath", 0, {"small": 4000, "body": 1.6e8}),
    ]
    met = [verdict(goal, samples).met for goal in GOALS]
    assert met == [True, True, False, False, False, True, False]
    table = goals_table(Run(0.1, samples), GOALS)
    assert "| < 10.00 s | 11.00 s |" in table
    assert "not measured" in table


def test_every_scenario_runs_on_a_cluster(tmp_path):
    out = tmp_path / "samples.json"
    command = [sys.executable, "-m", "tests.bench_slurm", "--quick", "--targets", "towpath", "--json", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {sample["scenario"]: sample["values"] for sample in json.loads(out.read_text())}
    assert set(found) == {"watch", "flood", "work", "lab", "ready", "proxy"}, done.stdout
    assert all(found.values()), done.stdout
