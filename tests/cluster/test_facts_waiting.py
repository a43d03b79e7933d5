"""Why jobs wait on a real cluster: what squeue says is told in a sentence."""

import time

import pytest

from batch.launchers.slurm.reasons import waiting
from batch.launchers.slurm.refusals import refused

SLEEP = "#!/bin/sh\nsleep 120\n"


def told(slurm, job, *, until):
    """What squeue's reason is told as, once it is (one of) `until`: the scheduler takes its time, and versions differ."""
    codes = (until,) if isinstance(until, str) else until
    end = time.monotonic() + 90
    while True:
        line = slurm.run("squeue", "--noheader", f"--jobs={job}", "--format=%T|%P|%q|%a|%r").strip()
        state, partition, qos, account, reason = line.split("|", 4)
        said = waiting(reason, partition=partition, qos=qos, account=account, now=time.time())
        if said.code in codes:
            assert state == "PENDING"
            return said
        assert time.monotonic() < end, line
        time.sleep(0.2)


def test_a_third_gpu_waits_for_the_limit_of_the_qos(slurm):
    gpu = ("--partition=gpu", "--qos=gpuq", "--gres=gpu:a100:1")
    for _ in range(2):
        slurm.sbatch(*gpu, script=SLEEP)
    said = told(
        slurm,
        slurm.sbatch("--partition=gpu", "--qos=gpuq", "--gres=gpu:v100:1", script=SLEEP),
        until="QOSMaxGRESPerUser",
    )
    assert said.message == "With this one, you would use more GPUs than the QOS gpuq allows one person."
    assert "stopped enough of your others" in said.hint


def test_jobs_behind_others_wait_for_room_and_for_their_turn(slurm):
    for node in ("cn1", "cn2"):
        slurm.sbatch("--cpus-per-task=8", f"--nodelist={node}", script=SLEEP)
    first = slurm.sbatch("--cpus-per-task=8", script=SLEEP)
    second = slurm.sbatch("--cpus-per-task=8", script=SLEEP)
    assert told(slurm, first, until="Resources").message == "It waits until enough of the partition cpu is free."
    assert told(slurm, second, until="Priority").message == "Other jobs are ahead of it in the partition cpu."


@pytest.mark.parametrize(
    ("change", "undo", "code"),
    [
        ("State=DOWN", "State=UP", "PartitionDown"),
        ("AllowQos=debug", "AllowQos=ALL", "QOSNotAllowed"),
        ("AllowAccounts=bio", "AllowAccounts=ALL", ("AccountNotAllowed", "PartitionConfig", "Resources")),
    ],
)
def test_a_partition_that_starts_nothing(slurm, change, undo, code):
    slurm.run("scontrol", "update", "PartitionName=cpu", change)
    try:
        said = told(slurm, slurm.sbatch(script=SLEEP), until=code)
    finally:
        slurm.run("scontrol", "update", "PartitionName=cpu", undo)
    assert "partition" in said.message.lower()


@pytest.mark.parametrize(
    ("groups", "nodes", "refusal", "codes"),
    [
        ("bob", 1, "partition-groups", ("AccountNotAllowed",)),
        ("ALL", 5, "nodes", ("PartitionConfig", "PartitionNodeLimit")),
    ],
)
def test_what_one_version_refuses_another_keeps_waiting(slurm, groups, nodes, refusal, codes):
    slurm.run("scontrol", "update", "PartitionName=cpu", f"AllowGroups={groups}")
    argv = ("sbatch", "--parsable", "--output=/dev/null", f"--nodes={nodes}")
    try:
        done = slurm.attempt(*argv, user="alice", given=SLEEP)
        if done.returncode:
            error = refused(done.stderr)
            assert (error.code, error.transient) == (refusal, False)
        else:
            assert "partition cpu" in told(slurm, done.stdout.strip(), until=codes).message.lower()
    finally:
        slurm.run("scontrol", "update", "PartitionName=cpu", "AllowGroups=ALL")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--time=2-00:00:00"], "PartitionTimeLimit"),
        (["--hold"], "JobHeldUser"),
        (["--begin=now+1hour"], "BeginTime"),
        (["--dependency=afterok:1"], "Dependency"),
    ],
    ids=" ".join,
)
def test_what_a_job_asks_for_can_keep_it_waiting(slurm, options, code):
    if code == "Dependency":
        before = slurm.sbatch("--hold", script=SLEEP)
        options = [f"--dependency=afterok:{before}"]
    assert told(slurm, slurm.sbatch(*options, script=SLEEP), until=code).hint


def test_drained_nodes_are_told_as_such(slurm):
    slurm.run("scontrol", "update", "NodeName=cn1,cn2", "State=DRAIN", "Reason=fans")
    free = slurm.sbatch(script=SLEEP)
    named = slurm.sbatch("--nodelist=cn1", script=SLEEP)
    assert "not available now" in told(slurm, named, until="ReqNodeNotAvail").message  # 22.05 names them, too
    end = time.monotonic() + 90
    while "drained, or kept" not in told(slurm, free, until="Resources").message:
        assert time.monotonic() < end
        time.sleep(0.2)


def test_a_reservation_that_has_not_begun(slurm):
    slurm.run(
        *("scontrol", "create", "reservation", "ReservationName=later", "Users=alice", "Nodes=cn1"),
        *("StartTime=now+3600", "Duration=60"),
    )
    job = slurm.sbatch("--reservation=later", script=SLEEP)
    assert told(slurm, job, until="Reservation").message == "Its reservation has not begun yet."
    slurm.run("scancel", job)  # a reservation that has a job cannot be removed
