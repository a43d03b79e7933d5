"""The table of Slurm's states and the hub's."""

import pytest

from batch.contract import JobState
from batch.launchers.slurm.states import STATES, exit_of, exit_text, job_state, one_word

ENDED = {
    "COMPLETED",
    "CANCELLED",
    "FAILED",
    "TIMEOUT",
    "NODE_FAIL",
    "PREEMPTED",
    "BOOT_FAIL",
    "DEADLINE",
    "OUT_OF_MEMORY",
}
BASE = {"PENDING", "RUNNING", "SUSPENDED", *ENDED}
FLAGS = {
    *("COMPLETING", "CONFIGURING", "RESIZING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "SIGNALING"),
    *("STAGE_OUT", "STOPPED", "REVOKED", "RESV_DEL_HOLD", "UPDATE_DB", "POWER_UP_NODE", "LAUNCH_FAILED"),
    *("RECONFIG_FAIL", "EXPEDITING"),
}
"""slurm.h.in of 26.05: `enum job_states` and the JOB_* flags that `job_state_string` shows."""


def test_every_state_of_slurms_is_in_the_table():
    assert set(STATES) == BASE | FLAGS


@pytest.mark.parametrize("word", sorted(STATES))
def test_only_an_end_is_final(word):
    assert job_state(word).final == (word in ENDED or word == "REVOKED")


def test_success_cancel_and_failure_are_distinguished():
    assert {word: job_state(word) for word in ENDED} == {
        **dict.fromkeys(ENDED, JobState.FAILED),
        "COMPLETED": JobState.COMPLETED,
        "CANCELLED": JobState.CANCELED,
    }


@pytest.mark.parametrize(
    "word", ["PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "POWER_UP_NODE"]
)
def test_waiting_and_requeued_jobs_are_in_the_queue(word):
    assert job_state(word) is JobState.QUEUED


@pytest.mark.parametrize("word", ["RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SOMETHING_NEW", ""])
def test_jobs_with_nodes_and_unknown_states_are_running(word):
    assert job_state(word) is JobState.ACTIVE


def test_a_flag_replaces_its_state_as_in_squeue():
    assert one_word(["RUNNING", "COMPLETING"]) == "COMPLETING"
    assert one_word(["CONFIGURING", "RUNNING"]) == "CONFIGURING"
    assert one_word(["RUNNING"]) == "RUNNING"
    assert one_word([]) == ""


def test_squeue_writes_a_wait_status_or_from_later_versions_code_and_signal():
    assert exit_text("768") == exit_text("3:0") == (3, 0)  # 22.05; 24.11 and 26.05
    assert exit_text("11") == exit_text("0:11") == (0, 11)
    assert exit_text("") == exit_text("0") == exit_text("0:0") == (0, 0)


def test_an_exit_is_a_wait_status():
    assert exit_of(0) == (0, 0)
    assert exit_of(7 << 8) == (7, 0)
    assert exit_of(9) == (0, 9)
