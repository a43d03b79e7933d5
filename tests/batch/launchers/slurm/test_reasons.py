"""The words for why a job waits: every reason that Slurm has, and what it writes out instead of one."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batch.launchers.slurm.limits import limit
from batch.launchers.slurm.reasons import PHRASES, waiting
from tests.batch.launchers.slurm.seen import text

# What slurm_job_state_reason_string gives in 22.05 to 26.05, without those of systems that are no more (BlueGene).
NAMES = text("reasons.txt").split()
JARGON = re.compile(r"TRES|GRES|[a-z][A-Z]|_|\bAssoc|\bGrp|PerUser|\{|\}")


def told(code, **more):
    return waiting(code, partition="gpu", qos="gpuq", account="physics", now=1000.0, **more)


@pytest.mark.parametrize("name", NAMES)
def test_every_reason_of_slurms_has_a_sentence_and_something_to_do_in_plain_words(name):
    said = told(name)
    assert "has no words for" not in said.message
    for words in (said.message, said.hint):
        assert words.endswith(".")
        assert words[0].isupper()
        assert not JARGON.search(words), words
        assert len(words) < 200
    assert said.code == name


@pytest.mark.parametrize("name", NAMES)
def test_every_reason_can_be_told_without_knowing_the_jobs_names(name):
    said = waiting(name, now=0.0)
    assert not JARGON.search(said.message + said.hint)
    assert "  " not in said.message
    assert " ." not in said.message


def test_the_reasons_that_people_meet_most():
    assert told("Resources").message == "It waits until enough of the partition gpu is free."
    assert told("Priority").message == "Other jobs are ahead of it in the partition gpu."
    assert (
        told("QOSMaxGRESPerUser").message
        == "With this one, you would use more GPUs than the QOS gpuq allows one person."
    )
    assert "stopped enough of your others" in told("QOSMaxGRESPerUser").hint
    assert told("AssocGrpCPUMinutesLimit").message == "The budget of core time of the account physics is used up."
    assert told("QOSMaxWallDurationPerJobLimit").message == "Its walltime is longer than the QOS gpuq allows."
    assert told("MaxJobsPerAccount").message.startswith("The people of your account together already run as many jobs")
    assert told("PartitionDown").message == "The partition gpu is closed: it takes jobs, and starts none now."


@pytest.mark.parametrize(
    ("written", "code", "part"),
    [
        # as squeue's %r of 22.05.8 printed them
        ("ReqNodeNotAvail, UnavailableNodes:cn1", "ReqNodeNotAvail", "not available now: cn1."),
        ("ReqNodeNotAvail, UnavailableNodes:cn[1-2,7]", "ReqNodeNotAvail", "not available now: cn[1-2,7]."),
        ("ReqNodeNotAvail", "ReqNodeNotAvail", "The nodes that it could run on"),
        ("(Resources)", "Resources", "enough of the partition gpu"),
        (
            "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
            "Resources",
            "down, drained, or kept",
        ),
        ("Nodes_required_for_job_are_DOWN,_DRAINED_or_reserved_for_jobs", "Resources", "down, drained, or kept"),
        (
            "Job's QOS not permitted to use this partition (cpu allows debug not normal)",
            "QOSNotAllowed",
            "not open to the QOS gpuq",
        ),
        (
            "Job's account not permitted to use this partition (cpu allows bio not physics)",
            "AccountNotAllowed",
            "not open to the account physics",
        ),
        ("launch failed requeued held", "JobHeldAdmin", "could not be started on its node"),
        # as that of 24.11.5 and 26.05.5 did
        ("ReqNodeNotAvail, May be reserved for other job", "ReqNodeNotAvail", "The nodes that it could run on"),
        ("RaisedSignal:11(Segmentation fault)", "RaisedSignal", "ended by a signal"),
        (
            "uid 1001 not in group permitted to use this partition (cpu). groups allowed: bob",
            "AccountNotAllowed",
            "The partition gpu is only for certain groups",
        ),
        ("", "", "has not looked at the job yet"),
        ("None", "None", "has not looked at the job yet"),
    ],
)
def test_what_slurm_writes_out_is_understood(written, code, part):
    said = told(written)
    assert said.code == code
    assert part in said.message


def test_a_reason_that_nobody_knows_is_told_honestly_with_its_code():
    said = told("QuantumFlux")
    assert "QuantumFlux" in said.message
    assert said.code == "QuantumFlux"
    assert "may start by itself" in said.hint


def test_a_limit_on_a_resource_that_comes_later_is_told_like_the_others():
    assert (
        limit("QOSMaxTapePerUser", qos="q").message
        == "With this one, you would use more resources than the QOS q allows one person."
    )
    assert limit("Resources") is None
    assert limit("MaxMemPerLimit") is None


def test_the_start_is_rounded_up_to_a_minute_and_one_that_has_passed_says_nothing():
    assert told("Resources", start=1201.5).start == 1260.0
    assert told("Resources", start=1260.0).start == 1260.0
    assert told("Resources", start=999.0).start is None
    assert told("Resources").start is None
    said = told("Priority", position=3, of=17)
    assert (said.position, said.of) == (3, 17)


def test_every_phrase_is_met_before_it_is_taken_for_a_name():
    for part, _, told_ in PHRASES:
        assert "{" not in waiting(part, now=0.0).message
        assert told_.hint.endswith(".")


@given(st.text(), st.text(), st.text())
@example("0\r,", "", "")
def test_whatever_slurm_writes_there_is_a_sentence(code, partition, qos):
    said = waiting(code, partition=partition, qos=qos, now=0.0)
    assert said.message
    assert said.code == said.code.strip()
