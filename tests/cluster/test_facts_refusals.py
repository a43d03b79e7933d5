"""Errors of a real sbatch are understood: the message, the field that it belongs to, and whether it is transient."""

import pytest

from batch.launchers.slurm.refusals import refused

SCRIPT = "#!/bin/sh\nsleep 60\n"


def refusal(slurm, *options, user="alice"):
    done = slurm.attempt("sbatch", "--parsable", "--output=/dev/null", *options, user=user, given=SCRIPT, seconds=60)
    assert done.returncode, f"it was accepted: {done.stdout}"
    return refused(done.stderr, qos="its-qos", account="its-account")


@pytest.mark.parametrize(
    ("options", "code", "field"),
    [
        (["--account=nosuch"], "account", "account"),
        (["--account=bio", "--partition=gpu"], "account", "account"),
        (["--qos=nosuch"], "qos", "qos"),
        (["--account=bio", "--qos=gpuq"], "qos", "qos"),
        (["--partition=nosuch"], "partition", "partition"),
        (["--partition=gpu", "--gres=gpu:a100:9"], "nodes", "partition"),
        (["--partition=gpu", "--gres=gpu:h100:1"], "nodes", "partition"),
        (["--gres=foo:1"], "gpus", "gpus"),
        (["--mem=100G"], "memory", "memory"),
        (["--cpus-per-task=8", "--mem-per-cpu=8G"], "memory", "memory"),
        (["--constraint=nosuch"], "constraint", "constraint"),
        (["--reservation=nosuch"], "reservation", "reservation"),
        (["--licenses=matlab"], "licences", ""),
        (["--nodelist=cn9"], "nodes", ""),
        (["--qos=debug", "--time=1:00:00"], "QOSMaxWallDurationPerJobLimit", "walltime"),
    ],
    ids=" ".join,
)
def test_requests_that_cannot_be_met(slurm, options, code, field):
    error = refusal(slurm, *options)
    assert (error.code, error.field, error.transient) == (code, field, False)
    assert str(error).endswith(".")
    assert error.hint.endswith(".")


def test_an_account_that_slurm_does_not_know(slurm):
    error = refusal(slurm, user="nobody")
    assert (error.code, error.field) == ("account", "account")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("State=INACTIVE", "partition-closed"),
        ("State=DRAIN", "partition-closed"),
    ],
)
def test_a_partition_without_access(slurm, change, code):
    slurm.run("scontrol", "update", "PartitionName=cpu", change)
    try:
        error = refusal(slurm)
    finally:
        slurm.run("scontrol", "update", "PartitionName=cpu", "State=UP")
    assert (error.code, error.field) == (code, "partition")


def test_a_reservation_of_another_user(slurm):
    slurm.run(
        *("scontrol", "create", "reservation", "ReservationName=bobs", "Users=bob", "Nodes=cn1"),
        *("StartTime=now+3600", "Duration=60"),
    )
    error = refusal(slurm, "--reservation=bobs")
    assert (str(error), error.field) == ("You may not use this reservation.", "reservation")


def test_limits_on_the_number_of_jobs(slurm):
    slurm.run(
        "sacctmgr", "--immediate", "modify", "user", "alice", "where", "account=physics", "set", "MaxSubmitJobs=1"
    )
    try:
        slurm.sbatch("--hold", script=SCRIPT)
        error = refusal(slurm)
    finally:
        slurm.run(
            "sacctmgr", "--immediate", "modify", "user", "alice", "where", "account=physics", "set", "MaxSubmitJobs=-1"
        )
    assert (error.code, error.field) == ("AssocMaxSubmitJobLimit", "account")
    assert "as many jobs waiting and running as the account its-account allows" in str(error)


def test_a_qos_that_denies_requests_over_its_limit(slurm):
    slurm.run("sacctmgr", "--immediate", "modify", "qos", "gpuq", "set", "Flags+=DenyOnLimit")
    try:
        error = refusal(slurm, "--qos=gpuq", "--partition=gpu", "--gres=gpu:3")
    finally:
        slurm.run("sacctmgr", "--immediate", "modify", "qos", "gpuq", "set", "Flags-=DenyOnLimit")
    assert (error.code, error.field) == ("QOSMaxGRESPerUser", "qos")


@pytest.mark.parametrize(("daemon", "code"), [("munged", "authentication"), ("slurmctld", "scheduler-away")])
def test_a_stopped_daemon_is_a_transient_error(slurm, daemon, code):
    slurm.daemon(daemon).stop()
    try:
        error = refusal(slurm)
    finally:
        slurm.daemon(daemon).start()
    assert (error.code, error.transient) == (code, True)


def test_stopped_accounting_is_a_transient_error(slurm):
    slurm.daemon("slurmdbd").stop()
    try:
        done = slurm.attempt("sacct", "--jobs=1")
    finally:
        slurm.daemon("slurmdbd").start()
    error = refused(done.stderr)
    assert (error.code, error.transient) == ("accounting-away", True)
