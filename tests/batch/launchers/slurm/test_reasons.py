"""The messages for why a job waits: every reason of Slurm, and the texts that it writes instead of one."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batch.launchers.slurm.messages.limits import limit
from batch.launchers.slurm.messages.reasons import PHRASES, waiting
from tests.batch.launchers.slurm.seen import text

# What slurm_job_state_reason_string gives in 22.05 to 26.05, without those of systems that are no more (BlueGene).
NAMES = text("reasons.txt").split()
JARGON = re.compile(r"TRES|GRES|[a-z][A-Z]|_|\bAssoc|\bGrp|PerUser|\{|\}")


def shown(code, **more):
    return waiting(code, partition="gpu", qos="gpuq", account="physics", now=1000.0, **more)


@pytest.mark.parametrize("name", NAMES)
def test_every_reason_of_slurms_has_a_sentence_and_something_to_do_in_plain_words(name):
    said = shown(name)
    assert "gives the reason" not in said.message
    for words in (said.message, said.hint):
        assert words.endswith(".")
        assert words[0].isupper()
        assert not JARGON.search(words), words
        assert len(words) < 200
    assert said.code == name


@pytest.mark.parametrize("name", NAMES)
def test_every_reason_has_a_message_without_the_jobs_names(name):
    said = waiting(name, now=0.0)
    assert not JARGON.search(said.message + said.hint)
    assert "  " not in said.message
    assert " ." not in said.message


def test_the_reasons_that_people_meet_most():
    assert shown("Resources").message == "The job is waiting for free resources in partition gpu."
    assert shown("Priority").message == "Other jobs are ahead of it in partition gpu."
    assert (
        shown("QOSMaxGRESPerUser").message == "With this job, you would use more GPUs than QOS gpuq allows each user."
    )
    assert "enough of your other jobs have ended" in shown("QOSMaxGRESPerUser").hint
    assert shown("AssocGrpCPUMinutesLimit").message == "The budget of core time of account physics is used up."
    assert shown("QOSMaxWallDurationPerJobLimit").message == "The time limit is longer than QOS gpuq allows."
    assert shown("MaxJobsPerAccount").message.startswith("The users of your account together already run as many jobs")
    assert shown("PartitionDown").message == "Partition gpu is closed: it accepts jobs, but starts none now."


@pytest.mark.parametrize(
    ("written", "code", "part"),
    [
        # as squeue's %r of 22.05.8 printed them
        ("ReqNodeNotAvail, UnavailableNodes:cn1", "ReqNodeNotAvail", "not available now: cn1."),
        ("ReqNodeNotAvail, UnavailableNodes:cn[1-2,7]", "ReqNodeNotAvail", "not available now: cn[1-2,7]."),
        ("ReqNodeNotAvail", "ReqNodeNotAvail", "The nodes that the job could run on"),
        ("(Resources)", "Resources", "free resources in partition gpu"),
        (
            "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
            "Resources",
            "down, drained, or reserved",
        ),
        ("Nodes_required_for_job_are_DOWN,_DRAINED_or_reserved_for_jobs", "Resources", "down, drained, or reserved"),
        (
            "Job's QOS not permitted to use this partition (cpu allows debug not normal)",
            "QOSNotAllowed",
            "does not accept jobs of QOS gpuq",
        ),
        (
            "Job's account not permitted to use this partition (cpu allows bio not physics)",
            "AccountNotAllowed",
            "does not accept jobs of account physics",
        ),
        ("launch failed requeued held", "JobHeldAdmin", "could not be started on its node"),
        # as that of 24.11.5 and 26.05.5 did
        ("ReqNodeNotAvail, May be reserved for other job", "ReqNodeNotAvail", "The nodes that the job could run on"),
        ("RaisedSignal:11(Segmentation fault)", "RaisedSignal", "ended by a signal"),
        (
            "uid 1001 not in group permitted to use this partition (cpu). groups allowed: bob",
            "AccountNotAllowed",
            "Partition gpu is only for members of certain groups",
        ),
        ("", "", "has not considered the job yet"),
        ("None", "None", "has not considered the job yet"),
    ],
)
def test_reasons_that_slurm_writes_as_sentences_are_understood(written, code, part):
    said = shown(written)
    assert said.code == code
    assert part in said.message


def test_an_unknown_reason_is_shown_with_its_code():
    said = shown("QuantumFlux")
    assert "QuantumFlux" in said.message
    assert said.code == "QuantumFlux"
    assert "may start automatically" in said.hint


def test_a_limit_on_a_future_resource_is_explained_like_the_others():
    assert (
        limit("QOSMaxTapePerUser", qos="q").message
        == "With this job, you would use more resources than QOS q allows each user."
    )
    assert limit("Resources") is None
    assert limit("MaxMemPerLimit") is None


def test_the_start_is_rounded_up_to_a_minute_and_one_that_has_passed_says_nothing():
    assert shown("Resources", start=1201.5).start == 1260.0
    assert shown("Resources", start=1260.0).start == 1260.0
    assert shown("Resources", start=999.0).start is None
    assert shown("Resources").start is None
    said = shown("Priority", position=3, of=17)
    assert (said.position, said.of) == (3, 17)


def test_every_phrase_is_met_before_it_is_taken_for_a_name():
    for part, _, told_ in PHRASES:
        assert "{" not in waiting(part, now=0.0).message
        assert told_.hint.endswith(".")


@given(st.text(), st.text(), st.text())
@example("0\r,", "", "")
def test_any_reason_of_slurm_becomes_a_sentence(code, partition, qos):
    said = waiting(code, partition=partition, qos=qos, now=0.0)
    assert said.message
    assert said.code == said.code.strip()


MAINTENANCE = "ReqNodeNotAvail, Reserved for maintenance"


@pytest.mark.parametrize(
    ("begins", "hint"),
    [
        (57.5, "To start now, set a time limit of at most 55 minutes. Otherwise the job starts after the maintenance."),
        (121, "To start now, set a time limit of at most 2 hours. Otherwise the job starts after the maintenance."),
        (4, "To start now, set a time limit of at most 3 minutes. Otherwise the job starts after the maintenance."),
        (1, "The job starts after the maintenance."),
        (None, "The job starts after the maintenance."),
    ],
)
def test_a_job_that_waits_for_maintenance_shows_how_it_could_start_now(begins, hint):
    at = None if begins is None else 1000.0 + begins * 60
    found = waiting(MAINTENANCE, now=1000.0, limit=8 * 3600, maintenance=at)
    assert found.message == "Planned maintenance begins before the job could end (time limit 8 hours)."
    assert (found.code, found.hint) == ("ReqNodeNotAvail", hint)
