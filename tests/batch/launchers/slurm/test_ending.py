"""How a job ended: from the output of sacct and slurmrestd of a real cluster to a reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.launchers.slurm.clients.rest_ended import from_rest
from batch.launchers.slurm.clients.sacct import bytes_of, from_sacct
from batch.launchers.slurm.messages.amounts import duration, size
from batch.launchers.slurm.messages.ending import Ended, account_name, cause
from tests.batch.launchers.slurm.seen import answer, text

USERS = {0: "root", 1001: "alice", 1003: "carol"}
GB = 1024**3

# Job → (exit code, code, message) of the real cluster's jobs.
WANTED = {
    "3": (None, "cancelled", "An admin cancelled the job while it was waiting in the queue."),
    "4": (1, None, ""),
    "23": (None, "out-of-memory", "The job ran out of memory (asked for 100 MB)."),
    "24": (None, "out-of-memory", "The job ran out of memory (asked for 100 MB)."),
    "25": (None, "walltime", "The job reached its time limit of 1 minute."),
    "26": (3, None, ""),
    "27": (139, None, ""),
    "28": (0, None, ""),
    "29": (None, "cancelled", "alice cancelled the job outside the hub."),
    "30": (None, "cancelled", "An admin cancelled the job."),
    "33": (None, "launch-failed", "Slurm could not start the job on cn1."),
    "34": (None, "cancelled", "An admin cancelled the job while it was waiting in the queue."),
    "36": (None, "node-failed", "The node gn1 failed while the job was running on it."),
}


def shown(ended):
    reason = cause(ended, user="alice", name_of=lambda uid: USERS.get(uid, ""))
    return (ended.exit_code, reason.code, reason.message) if reason else (ended.exit_code, None, "")


def test_each_end_that_sacct_shows_is_shown():
    assert {job: shown(ended) for job, ended in from_sacct(text("sacct.txt")).items()} == WANTED


def test_slurmrestd_tells_the_same_ends():
    found = {str(job["job_id"]): from_rest(job) for job in answer("jobs.json")["jobs"]}
    wanted = {job: WANTED[job] for job in found}
    wanted["26"] = (None, None, "")  # 22.05's slurmrestd says SUCCESS and 0 of a job that failed with exit code 3
    assert {job: shown(ended) for job, ended in found.items()} == wanted
    assert len(found) == 10


def test_sacct_and_slurmrestd_give_the_same_facts():
    by_text = from_sacct(text("sacct.txt"))
    for job in answer("jobs.json")["jobs"]:
        one, other = from_rest(job), by_text[str(job["job_id"])]
        assert (one.state, one.signal, one.used or 0, one.requested) == (
            other.state,
            other.signal,
            other.used or 0,
            other.requested,
        )
        assert (one.elapsed, one.limit, one.nodes) == (other.elapsed, other.limit, other.nodes)


def test_memory_that_was_seen_to_be_nearly_all_is_shown():
    ended = Ended(state="OUT_OF_MEMORY", signal=125, used=int(3.9 * GB), requested=4 * GB)
    reason = cause(ended)
    assert reason.message == "The job ran out of memory (asked for 4 GB, used 3.9 GB)."
    assert (reason.field, reason.hint) == (
        "memory",
        "Start it again with more memory, or load less data at once. Unsaved work is lost.",
    )
    assert cause(Ended(state="OUT_OF_MEMORY")).message == "The job ran out of memory."
    assert cause(Ended(state="FAILED", signal=125)).code == "out-of-memory"


@pytest.mark.parametrize(
    ("by", "message"),
    [
        (1001, "alice cancelled the job outside the hub."),
        (0, "An admin cancelled the job."),
        (1003, "carol cancelled the job."),
        (4711, "The job was cancelled outside the hub."),
        (None, "The job was cancelled outside the hub."),
        ("carol", "carol cancelled the job."),  # slurmrestd says names
        ("root", "An admin cancelled the job."),
        ("alice", "alice cancelled the job outside the hub."),
    ],
)
def test_a_cancel_says_whose_it_was(by, message):
    reason = cause(
        Ended(state="CANCELLED", cancelled_by=by, nodes="cn1"), user="alice", name_of=lambda uid: USERS.get(uid, "")
    )
    assert reason.message == message


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("NODE_FAIL", "node-failed"),
        ("BOOT_FAIL", "node-failed"),
        ("PREEMPTED", "preempted"),
        ("DEADLINE", "deadline"),
        ("REVOKED", "revoked"),
        ("TIMEOUT", "walltime"),
        ("COMPLETED", None),
        ("FAILED", None),
        ("SOMETHING_NEW", None),
    ],
)
def test_each_final_state_has_its_cause(state, code):
    reason = cause(Ended(state=state))
    assert (reason and reason.code) == code
    if reason:
        assert reason.message.endswith(".")
        assert reason.hint.endswith(".")
        assert "{" not in reason.message


def test_a_script_that_was_ended_by_a_signal_did_start():
    """22.05 gives it the reason JobLaunchFailure all the same."""
    assert cause(Ended(state="FAILED", signal=11, reason="JobLaunchFailure")) is None
    assert cause(Ended(state="FAILED", signal=53, reason="JobLaunchFailure")).code == "launch-failed"
    assert cause(Ended(state="FAILED", code=1, reason="BadConstraints")).message == "No node has what the job asks for."


def test_jobs_that_have_not_ended_are_not_there():
    line = "7|RUNNING|0:0|None|cpu=1|cpu=1||5|30|cn1|1"
    assert from_sacct(line) == {}
    assert from_sacct(line.replace("RUNNING", "PENDING")) == {}
    assert from_sacct(line.replace("RUNNING", "CANCELLED+"))["7"].state == "CANCELLED"


def test_memory_is_reported_per_node_and_the_largest_step_counts():
    lines = (
        "7|OUT_OF_MEMORY|0:125|None|cpu=4,mem=8G,node=2|cpu=4,mem=8G||5|30|cn[1-2]|2\n"
        "7.batch|OUT_OF_MEMORY|0:125||cpu=2||104857600|5||cn1|1\n"
        "7.0|FAILED|0:125||cpu=2||4080218931|5||cn2|1\n"
    )
    ended = from_sacct(lines)["7"]
    assert (ended.requested, ended.used) == (4 * GB, 4080218931)
    assert cause(ended).message == "The job ran out of memory (asked for 4 GB, used 3.8 GB)."


@pytest.mark.parametrize(
    ("job", "wanted"),
    [
        # the shapes of 0.0.40 and later: states in lists, wrapped numbers
        (
            {
                "state": {"current": ["TIMEOUT"], "reason": "None"},
                "time": {"elapsed": 60, "limit": {"set": True, "infinite": False, "number": 1}},
                "exit_code": {"return_code": {"set": True, "number": 0}, "signal": {"id": {"set": False, "number": 0}}},
            },
            Ended(state="TIMEOUT", code=0, elapsed=60, limit=60.0),
        ),
        (
            {
                "state": {"current": ["FAILED"], "reason": "RaisedSignal:9(Killed)"},
                "exit_code": {
                    "return_code": {"set": False},
                    "signal": {"id": {"set": True, "number": 9}, "name": "KILL"},
                },
                "time": {"limit": {"set": False, "infinite": True, "number": 0}},
            },
            Ended(state="FAILED", signal=9, reason="RaisedSignal:9(Killed)"),
        ),
        ({"state": {"current": ["RUNNING"]}}, None),
        ({"state": {"current": []}}, None),
        ({}, None),
    ],
)
def test_newer_answers_of_slurmrestd_are_read_too(job, wanted):
    assert from_rest(job) == wanted


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (100 * 1024**2, "100 MB"), (int(3.9 * GB), "3.9 GB"), (2048 * GB, "2 TB")],
)
def test_sizes_are_written_for_people(count, words):
    assert size(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 seconds"),
        (60, "1 minute"),
        (5400, "1 hour 30 minutes"),
        (93600, "1 day 2 hours"),
        (86461, "1 day 1 minute"),
    ],
)
def test_durations_are_written_for_people(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("text_", "count"),
    [("212992", 212992), ("100M", 104857600), ("1.5G", 1610612736), ("", None), ("x", None), ("1Z", None)],
)
def test_sizes_are_read_as_slurm_writes_them(text_, count):
    assert bytes_of(text_) == count


def test_names_come_from_this_machines_accounts():
    assert account_name(0) == "root"
    assert account_name(2**31 - 2) == ""


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["state", "current", "reason", "time", "limit", "exit_code", "signal", "id", "tres", "steps",
                         "allocated", "requested", "max", "type", "count", "set", "number", "nodes", "x"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["state", "time", "exit_code", "tres", "steps", "nodes"]), anything))
def test_no_answer_of_slurmrestd_breaks_the_reading(job):
    ended = from_rest(job)
    if ended is not None:
        _ = cause(ended, user="alice")


@given(
    st.lists(
        st.one_of(
            st.text(),
            st.lists(st.text(alphabet="ABC0129:.|=_ byCANELD+", max_size=12), min_size=11, max_size=11).map("|".join),
        )
    )
)
def test_no_line_breaks_the_reading_of_sacct(lines):
    for ended in from_sacct("\n".join(lines)).values():
        reason = cause(ended, user="alice")
        assert reason is None or reason.message.endswith(".")
