"""Errors of a real sbatch are understood: the message, the field that it belongs to, and whether it is transient."""

import pytest

from batch.contract import LauncherError
from batch.launchers.slurm.messages.refusals import refused
from tests.batch.launchers.slurm.making import job, slurm_config, slurm_maker
from tests.conftest import run

SCRIPT = "#!/bin/sh\nsleep 60\n"


def refusal(slurm, *options, user="alice"):
    done = slurm.attempt("sbatch", "--parsable", "--output=/dev/null", *options, user=user, stdin=SCRIPT, seconds=60)
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
    assert (str(error), error.field) == ("You cannot use this reservation.", "reservation")


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
    assert "as many jobs waiting and running as account its-account allows" in str(error)


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


JOB_SUBMIT = """
function slurm_job_submit(job_desc, part_list, submit_uid)
    if job_desc.comment == "no limit" then
        slurm.log_user("Please set a time limit.")
        slurm.log_user("See https://hpc.example.org/limits (für alle).")
        return slurm.ERROR
    end
    if job_desc.comment == "no account" then
        slurm.log_user("Projects end on 31 December: choose another account.\\nMore: hpc.example.org.")
        return 2045
    end
    if job_desc.comment == "a note" then
        slurm.log_user("Note: this partition is being renamed.")
    end
    return slurm.SUCCESS
end
function slurm_job_modify(job_desc, job_rec, part_list, modify_uid)
    return slurm.SUCCESS
end
return slurm.SUCCESS
"""
CLI_FILTER = """
function slurm_cli_setup_defaults(options, early_pass) return slurm.SUCCESS end
function slurm_cli_pre_submit(options, pack_offset)
    if options["comment"] == "too little" then
        slurm.log_error("This site wants jobs with more than 100 MB of memory.")
        return slurm.ERROR
    end
    return slurm.SUCCESS
end
function slurm_cli_post_submit(offset, job_id, step_id) return slurm.SUCCESS end
"""


@pytest.fixture(scope="module")
def strict(slurm_session):
    """The cluster with a site's own rules: a real job_submit plug-in and a real cli_filter, in Lua."""
    (slurm_session.layout.etc / "job_submit.lua").write_text(JOB_SUBMIT)
    (slurm_session.layout.etc / "cli_filter.lua").write_text(CLI_FILTER)
    slurm_session.reconfigure("JobSubmitPlugins=lua", "CliFilterPlugins=lua")
    yield slurm_session
    slurm_session.reconfigure()
    slurm_session.reset()  # until all nodes respond again


@pytest.mark.parametrize(
    ("options", "message", "code", "field"),
    [
        (
            ["--comment=no limit"],
            "Please set a time limit. See https://hpc.example.org/limits (für alle).",
            "site",
            "walltime",
        ),
        (
            ["--comment=no account"],
            (
                "Projects end on 31 December: choose another account. More: hpc.example.org."
                " You cannot use this account, or not in this partition."
            ),
            "account",
            "account",
        ),
        (
            ["--comment=a note", "--qos=nosuch"],
            "Note: this partition is being renamed. You cannot use this QOS.",
            "qos",
            "partition",
        ),
        (
            ["--comment=a note", "--qos=debug", "--time=1:00:00"],
            "Note: this partition is being renamed. The time limit is longer than QOS its-qos allows.",
            "QOSMaxWallDurationPerJobLimit",
            "walltime",
        ),
        (["--comment=too little"], "This site wants jobs with more than 100 MB of memory.", "site", "memory"),
    ],
)
def test_the_sites_own_words_come_first_and_stand_beside_their_field(strict, slurm, options, message, code, field):
    error = refusal(slurm, *options)
    assert (str(error), error.code, error.field, error.transient) == (message, code, field, False)


@pytest.mark.parametrize("client", ["cli", "rest"])
def test_a_start_that_a_sites_rule_refuses_says_so_by_each_client(strict, slurm, client):
    """slurmrestd does not pass on the words for a refusal, of 22.05, 24.11 and 26.05."""
    (slurm.layout.etc / "job_submit.lua").write_text(JOB_SUBMIT.replace('comment == "no limit"', "name ~= nil"))
    slurm.reconfigure("JobSubmitPlugins=lua")

    async def body():
        launcher = slurm_maker(slurm_config(slurm, client))()
        with pytest.raises(LauncherError) as caught:
            await launcher.submit(job())
        await launcher.close()
        return caught.value

    try:
        error = run(body())
    finally:
        (slurm.layout.etc / "job_submit.lua").write_text(JOB_SUBMIT)
        slurm.reconfigure("JobSubmitPlugins=lua", "CliFilterPlugins=lua")
    assert (error.code, error.transient) == ("site", False)
    if client == "cli":
        assert str(error).startswith("Please set a time limit.")
        assert error.field == "walltime"
    else:
        assert str(error) == "A rule of this cluster refuses the job, and gives no reason."
