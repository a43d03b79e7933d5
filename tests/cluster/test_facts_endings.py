"""How real jobs end: the cause from sacct and slurmrestd is the real one."""

import time

from batch.launchers.slurm.clients.sacct import FIELDS, from_sacct
from batch.launchers.slurm.factory import open_client
from batch.launchers.slurm.messages.ending import cause
from tests.batch.launchers.slurm.making import slurm_config
from tests.conftest import run

FILL = "exec /usr/bin/python3 -c 'x = bytearray(400 * 2**20); import time; time.sleep(30)'"
FILL_SLOWLY = 'exec /usr/bin/python3 -c "import time\nx = []\nwhile True: x.append(bytearray(2**20)); time.sleep(0.06)"'


def script(body):
    return f"#!/bin/sh\n{body}\n"


def until(ready, seconds, what):
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, what()
        time.sleep(0.25)


def facts_of(slurm, *jobs, duplicates=False):
    """Return job → facts from sacct, of the jobs that it shows as ended."""
    options = ["--duplicates"] if duplicates else []
    options += ["--noheader", "--parsable2", "--noconvert", f"--format={','.join(FIELDS)}", f"--jobs={','.join(jobs)}"]
    return from_sacct(slurm.run("sacct", *options))


def ends(slurm, jobs, *, seconds):
    """Return job → facts from sacct, once it shows all of them as ended: slurmdbd lags behind."""
    found = {}

    def look():
        found.update(facts_of(slurm, *jobs))
        return set(jobs) <= found.keys()

    until(look, seconds, lambda: f"{jobs}: {found}")
    return found


def code_of(ended):
    reason = cause(ended, user="alice")
    return reason.code if reason else None


def by_rest(slurm, job):
    async def body():
        client = open_client(slurm_config(slurm, "rest"))
        try:
            return await client.past(ids=[int(job)], since=0)
        finally:
            await client.close()

    return run(body())[-1].facts


def test_every_end_is_reported_with_its_cause(slurm):
    jobs = {
        "ok": slurm.sbatch(script=script("exit 0")),
        "exit": slurm.sbatch(script=script("exit 3")),
        "signal": slurm.sbatch(script=script("kill -SEGV $$")),
        "memory": slurm.sbatch("--mem=100M", script=script(FILL)),
        "child": slurm.sbatch("--mem=100M", script=script(FILL.removeprefix("exec ") + "; exit 0")),
        "slowly": slurm.sbatch("--mem=200M", script=script(FILL_SLOWLY)),
        "walltime": slurm.sbatch("--time=1", script=script("sleep 300")),
        "launch": slurm.sbatch("--chdir=/nonexistent", "--output=/nonexistent/log", script=script("sleep 1")),
        "mine": slurm.sbatch(script=script("sleep 300")),
        "theirs": slurm.sbatch(script=script("sleep 300")),
        "queued": slurm.sbatch("--hold", script=script("sleep 300")),
        "node": slurm.sbatch("--partition=gpu", "--no-requeue", script=script("sleep 300")),
    }
    again = slurm.sbatch("--partition=gpu", script=script("sleep 300"))
    for name in ("mine", "theirs", "node"):
        until(lambda name=name: slurm.state(jobs[name]) == "RUNNING", 90, lambda name=name: slurm.state(jobs[name]))
    until(lambda: slurm.state(again) == "RUNNING", 90, lambda: slurm.state(again))
    slurm.run("scancel", jobs["mine"], user="alice")
    slurm.run("scancel", jobs["theirs"], jobs["queued"])
    slurm.daemon("gn1").kill()
    facts = ends(slurm, list(jobs.values()), seconds=300)
    ended = {name: facts[job] for name, job in jobs.items()}
    assert {name: code_of(one) for name, one in ended.items()} == {
        "ok": None,
        "exit": None,
        "signal": None,
        "memory": "out-of-memory",
        "child": "out-of-memory",
        "slowly": "out-of-memory",
        "walltime": "walltime",
        "launch": "launch-failed",
        "mine": "cancelled",
        "theirs": "cancelled",
        "queued": "cancelled",
        "node": "node-failed",
    }
    messages = {name: cause(one, user="alice").message for name, one in ended.items() if code_of(one)}
    assert messages["mine"] == "alice cancelled the job outside the hub."
    assert messages["theirs"] == "An admin cancelled the job."
    assert messages["queued"] == "An admin cancelled the job while it was waiting in the queue."
    assert messages["walltime"] == "The job reached its time limit of 1 minute."
    assert "(asked for 100 MB" in messages["memory"]
    # The memory that was used is reported if Slurm's sampling has seen it.
    assert "(asked for 200 MB" in messages["slowly"]
    assert messages["node"] == "The node gn1 failed while the job was running on it."
    assert [ended[name].exit_code for name in ("ok", "exit", "signal")] == [0, 3, 139]
    for name, job in jobs.items():
        assert code_of(by_rest(slurm, job)) == code_of(ended[name]), name
    # The other job of the failed node waits again, and accounting still has its first run.
    until(lambda: slurm.state(again) == "PENDING", 90, lambda: slurm.state(again))
    first = facts_of(slurm, again, duplicates=True)[again]
    assert code_of(first) == "node-failed"


def test_a_preempted_job_is_requeued_and_its_first_run_was_preempted(slurm):
    low = slurm.sbatch("--qos=scavenger", "--cpus-per-task=8", "--nodelist=cn1", script=script("sleep 300"), user="bob")
    until(lambda: slurm.state(low) == "RUNNING", 90, lambda: slurm.state(low))
    high = slurm.sbatch("--qos=normal", "--cpus-per-task=8", "--nodelist=cn1", script=script("sleep 300"))
    until(lambda: slurm.state(high) == "RUNNING", 60, lambda: slurm.state(high))
    assert slurm.state(low) == "PENDING"
    assert slurm.field(low, "Restarts") == "1"
    found = {}

    def look():
        found.update(facts_of(slurm, low, duplicates=True))
        return low in found

    until(look, 30, lambda: found)
    assert code_of(found[low]) == "preempted"
    assert cause(found[low]).message == "The job was preempted by a job with a higher priority."
