"""Why jobs wait on a real cluster: squeue's reason is shown as a message."""

import time

import pytest

from batch.launchers.slurm.messages.reasons import waiting
from batch.launchers.slurm.messages.refusals import refused

SLEEP = "#!/bin/sh\nsleep 120\n"


def message_for(slurm, job, *, until):
    """Return the message for squeue's reason once it is (one of) `until`.

    The scheduler takes time, and versions differ.
    """
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
    said = message_for(
        slurm,
        slurm.sbatch("--partition=gpu", "--qos=gpuq", "--gres=gpu:v100:1", script=SLEEP),
        until="QOSMaxGRESPerUser",
    )
    assert said.message == "With this job, you would use more GPUs than QOS gpuq allows each user."
    assert "enough of your other jobs have ended" in said.hint


def test_jobs_wait_for_free_nodes_and_for_jobs_ahead_of_them(slurm):
    for node in ("cn1", "cn2"):
        slurm.sbatch("--cpus-per-task=8", f"--nodelist={node}", script=SLEEP)
    first = slurm.sbatch("--cpus-per-task=8", script=SLEEP)
    second = slurm.sbatch("--cpus-per-task=8", script=SLEEP)
    assert (
        message_for(slurm, first, until="Resources").message
        == "The job is waiting for free resources in partition cpu."
    )
    assert message_for(slurm, second, until="Priority").message == "Other jobs are ahead of it in partition cpu."


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
        said = message_for(slurm, slurm.sbatch(script=SLEEP), until=code)
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
def test_some_versions_reject_what_others_keep_waiting(slurm, groups, nodes, refusal, codes):
    slurm.run("scontrol", "update", "PartitionName=cpu", f"AllowGroups={groups}")
    argv = ("sbatch", "--parsable", "--output=/dev/null", f"--nodes={nodes}")
    try:
        done = slurm.attempt(*argv, user="alice", stdin=SLEEP)
        if done.returncode:
            error = refused(done.stderr)
            assert (error.code, error.transient) == (refusal, False)
        else:
            assert "partition cpu" in message_for(slurm, done.stdout.strip(), until=codes).message.lower()
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
def test_options_of_a_job_can_keep_it_waiting(slurm, options, code):
    if code == "Dependency":
        before = slurm.sbatch("--hold", script=SLEEP)
        options = [f"--dependency=afterok:{before}"]
    assert message_for(slurm, slurm.sbatch(*options, script=SLEEP), until=code).hint


def test_drained_nodes_are_reported_as_drained(slurm):
    slurm.run("scontrol", "update", "NodeName=cn1,cn2", "State=DRAIN", "Reason=fans")
    free = slurm.sbatch(script=SLEEP)
    named = slurm.sbatch("--nodelist=cn1", script=SLEEP)
    assert "not available now" in message_for(slurm, named, until="ReqNodeNotAvail").message  # 22.05 names them too
    end = time.monotonic() + 90
    while "drained, or reserved" not in message_for(slurm, free, until="Resources").message:
        assert time.monotonic() < end
        time.sleep(0.2)


def test_a_reservation_that_has_not_begun(slurm):
    slurm.run(
        *("scontrol", "create", "reservation", "ReservationName=later", "Users=alice", "Nodes=cn1"),
        *("StartTime=now+3600", "Duration=60"),
    )
    job = slurm.sbatch("--reservation=later", script=SLEEP)
    assert message_for(slurm, job, until="Reservation").message == "The job's reservation has not begun yet."
    slurm.run("scancel", job)  # a reservation that has a job cannot be removed
