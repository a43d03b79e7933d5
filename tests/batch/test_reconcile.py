"""The decisions of the controller, as a table and as properties."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from batch.contract import JobState, JobView, Report
from batch.controller.end_reasons import LATE_SECONDS
from batch.controller.reconcile import (
    LOST_SECONDS,
    RESTART_MARGIN,
    STALE_SECONDS,
    WINDOW_MARGIN,
    Adopt,
    Cancel,
    DropRoute,
    Edit,
    PublishRoute,
    Save,
    Settle,
    Sight,
    Submit,
    orphan,
    reconcile,
)
from state.records.endings import exit_text
from state.records.models import Endpoint, JobRef, Reason, Server, Status, Target, Waiting
from state.records.readiness import route_changes, route_of

NOW = 1000.0
WINDOW = 60.0
ATTEMPT = "a" * 32
SOCKET = Endpoint(kind="unix", path="/run/app.sock")
JOB = JobRef(cluster="here", native_id="7")
READY_WORD = Report(kind="ready", attempt=ATTEMPT, endpoint=SOCKET)


def server(status=Status.REQUESTED, target=Target.READY, **more) -> Server:
    values = {
        "user": "alice",
        "target": target,
        "status": status,
        "attempt": ATTEMPT,
        "profile": "p",
        "cluster": "here",
        "requested": 900.0,
    }
    if status is not Status.REQUESTED:
        values["job"] = JOB
    if status in (Status.STARTING, Status.READY):
        values["running"] = 950.0
    if status is Status.READY:
        values["endpoint"] = SOCKET
        values["ready"] = 960.0
    return Server(**{**values, **more})


def job(state, **more) -> JobView:
    return JobView(**{"attempt": ATTEMPT, "user": "alice", "server": "", "state": state, "native_id": "7", **more})


def decide(record, sight, now=NOW):
    return reconcile(record, sight, now=now, window=WINDOW)


def shape(actions):
    return [f"save {action.server.status}" if isinstance(action, Save) else type(action).__name__ for action in actions]


FRESH_NOTHING = Sight(fresh=True)
UNKNOWN = Sight(fresh=False)


def seen(state, **more):
    return Sight(view=job(state, **more), fresh=True)


ENDED = Report(kind="ended", attempt=ATTEMPT, exit_code=1, log_tail="boom")
TABLE = [
    # (the record, what the cluster shows, the actions)
    (server(), FRESH_NOTHING, ["Submit"]),
    (server(), UNKNOWN, ["Submit"]),  # a submit is idempotent: there is nothing to wait for
    (server(), seen(JobState.NEW), ["Submit"]),
    (server(), seen(JobState.QUEUED), ["save queued"]),
    (server(), seen(JobState.ACTIVE), ["save starting"]),
    (server(), seen(JobState.ACTIVE, report=READY_WORD), ["save ready", "PublishRoute"]),
    (server(Status.QUEUED), UNKNOWN, []),
    (server(Status.QUEUED), seen(JobState.QUEUED), []),
    (server(Status.QUEUED), seen(JobState.ACTIVE), ["save starting"]),
    (server(Status.QUEUED), Sight(fresh=True, absent_for=1.0), []),
    (server(Status.QUEUED), Sight(fresh=True, absent_for=LOST_SECONDS), ["DropRoute", "save failed", "Settle"]),
    (server(Status.QUEUED), Sight(down_for=STALE_SECONDS), ["save queued"]),
    (server(Status.QUEUED, stale=True), Sight(down_for=9999.0), []),
    (server(Status.READY), Sight(down_for=9999.0), ["save ready"]),
    (server(), Sight(down_for=STALE_SECONDS), ["save requested"]),
    (server(stale=True), Sight(down_for=STALE_SECONDS), ["Submit"]),
    # What polls showed before they failed is outdated: nothing follows from it except an end, which is final.
    (server(Status.READY), Sight(view=job(JobState.ACTIVE), down_for=STALE_SECONDS - 1), []),
    (server(Status.READY), Sight(view=job(JobState.ACTIVE), down_for=STALE_SECONDS), ["save ready"]),
    (server(Status.READY, stale=True), Sight(view=job(JobState.ACTIVE), down_for=9999.0), []),
    (server(Status.QUEUED), Sight(view=job(JobState.QUEUED), down_for=STALE_SECONDS), ["save queued"]),
    (
        server(Status.STARTING, running=NOW - 9999, stale=True),
        Sight(view=job(JobState.ACTIVE), down_for=STALE_SECONDS),
        [],
    ),
    (
        server(Status.READY),
        Sight(view=job(JobState.FAILED), down_for=STALE_SECONDS),
        ["DropRoute", "save failed", "Settle"],
    ),
    (server(Status.READY), UNKNOWN, []),
    (server(Status.READY), seen(JobState.ACTIVE), []),
    (server(Status.READY, stale=True), seen(JobState.ACTIVE), ["save ready"]),
    (server(Status.READY), seen(JobState.ACTIVE, report=READY_WORD), []),
    (server(Status.READY), seen(JobState.QUEUED), ["DropRoute", "save queued"]),
    (server(Status.READY), seen(JobState.FAILED, report=ENDED), ["DropRoute", "save failed", "Settle"]),
    (server(Status.READY), seen(JobState.ACTIVE, report=ENDED), ["DropRoute", "save failed"]),
    (server(Status.READY), seen(JobState.CANCELED), ["DropRoute", "save failed", "Settle"]),
    (server(Status.READY), seen(JobState.COMPLETED, exit_code=0), ["DropRoute", "save stopped", "Settle"]),
    (server(Status.STARTING), seen(JobState.COMPLETED, exit_code=0), ["DropRoute", "save failed", "Settle"]),
    (server(Status.STARTING), seen(JobState.ACTIVE), []),
    (
        server(Status.STARTING, running=NOW - WINDOW - WINDOW_MARGIN - 1),
        seen(JobState.ACTIVE),
        ["save failed", "Cancel"],
    ),
    (server(Status.STARTING, running=NOW - 9999), UNKNOWN, []),  # nothing follows if the job is not visible
    (server(Status.QUEUED, requested=0.0), seen(JobState.QUEUED), []),  # waiting in a queue has no timeout
    (server(target=Target.STOPPED), FRESH_NOTHING, ["Cancel", "DropRoute", "save stopped", "Settle"]),
    (server(target=Target.STOPPED), UNKNOWN, ["DropRoute", "save stopping", "Cancel"]),
    (server(Status.READY, Target.STOPPED), seen(JobState.ACTIVE), ["DropRoute", "save stopping", "Cancel"]),
    (server(Status.READY, Target.STOPPED), UNKNOWN, ["DropRoute", "save stopping", "Cancel"]),
    (server(Status.STOPPING, Target.STOPPED), seen(JobState.ACTIVE), ["Cancel"]),
    (server(Status.STOPPING, Target.STOPPED), UNKNOWN, ["Cancel"]),
    (server(Status.STOPPING, Target.STOPPED), seen(JobState.CANCELED), ["DropRoute", "save stopped", "Settle"]),
    (server(Status.STOPPING, Target.STOPPED), FRESH_NOTHING, ["Cancel", "DropRoute", "save stopped", "Settle"]),
    (server(Status.FAILED, Target.STOPPED), seen(JobState.ACTIVE), ["DropRoute", "Cancel"]),
    (server(Status.FAILED, Target.STOPPED), seen(JobState.FAILED), ["DropRoute", "Settle"]),
    (server(Status.STOPPED, Target.STOPPED), FRESH_NOTHING, ["DropRoute", "Settle"]),
    (server(Status.STOPPED, Target.STOPPED), UNKNOWN, []),
]


def test_reports_of_a_run_that_the_scheduler_has_given_up_no_longer_count():
    _, save = decide(server(Status.READY), seen(JobState.QUEUED, restarts=1))
    assert (save.server.status, save.server.restart) == (Status.QUEUED, 1)
    _, save = decide(server(Status.READY), seen(JobState.ACTIVE, restarts=1))
    assert (save.server.status, save.server.restart) == (Status.STARTING, 1)
    assert decide(server(Status.READY, restart=1), seen(JobState.ACTIVE, restarts=1)) == []
    assert decide(server(Status.READY, restart=2), seen(JobState.ACTIVE, restarts=1)) == []


def test_the_user_sees_when_a_cluster_answers_again():
    (save,) = decide(server(Status.READY, stale=True), seen(JobState.ACTIVE))
    assert (save.message, save.server.stale) == ("here answers again.", False)


@pytest.mark.parametrize(("record", "sight", "wanted"), TABLE)
def test_each_row_of_the_table(record, sight, wanted):
    assert shape(decide(record, sight)) == wanted


reports = st.one_of(
    st.none(),
    st.just(READY_WORD),
    st.builds(
        Report,
        kind=st.sampled_from(["ended", "failed"]),
        attempt=st.just(ATTEMPT),
        exit_code=st.one_of(st.none(), st.integers(0, 255)),
        message=st.sampled_from(["", "It broke."]),
    ),
)
views = st.builds(
    job,
    st.sampled_from(JobState),
    report=reports,
    exit_code=st.one_of(st.none(), st.integers(0, 255)),
    native_id=st.sampled_from(["", "7"]),
    reason=st.sampled_from(["", "Out of memory."]),
    started=st.sampled_from([None, 900.0, NOW]),
    deadline=st.one_of(st.none(), st.floats(NOW - 100, NOW + 4000)),
    node=st.sampled_from(["", "cn1"]),
    waiting=st.one_of(
        st.none(),
        st.builds(
            Waiting,
            code=st.sampled_from(["Resources", "Priority"]),
            message=st.sampled_from(["It waits.", "Others are ahead."]),
            start=st.one_of(st.none(), st.floats(0, 9999)),
            position=st.one_of(st.none(), st.integers(1, 3)),
        ),
    ),
    ending=st.one_of(st.none(), st.just(Reason(code="walltime", message="It reached its walltime."))),
)
records = st.builds(
    server,
    st.sampled_from(Status),
    st.sampled_from(Target),
    stale=st.booleans(),
    running=st.one_of(st.none(), st.floats(0, NOW)),
    job=st.one_of(st.none(), st.just(JOB)),
    deadline=st.one_of(st.none(), st.floats(NOW - 100, NOW + 4000)),
    warned=st.sampled_from([0, 5, 15]),
    waiting=st.sampled_from([None, Waiting(code="None", message="It waits.")]),
    reason=st.sampled_from([None, Reason(code="app-died", message="It died."), Reason(code="stopped", message="So.")]),
    ended=st.sampled_from([None, NOW - 1, 0.0]),
).map(lambda record: record if record.active else replace(record, target=Target.STOPPED))
sights = st.one_of(
    st.builds(lambda view: Sight(view=view, fresh=True), views),
    st.builds(lambda view, down: Sight(view=view, down_for=down), views, st.floats(0, 9999)),
    st.builds(lambda absent: Sight(fresh=True, absent_for=absent), st.floats(0, 9999)),
    st.builds(lambda down: Sight(down_for=down), st.floats(0, 9999)),
)


@settings(deadline=None)
@given(records, sights)
def test_the_table_knows_every_pair_and_a_second_pass_has_nothing_to_save(record, sight):
    """Level-triggered: after the saves, the same view leads to no further save of the same status."""
    for _ in range(6):
        saves = [action for action in decide(record, sight) if isinstance(action, Save)]
        if not saves:
            return
        record = saves[-1].server
    raise AssertionError(f"does not converge: {record}")


@settings(deadline=None)
@given(records, st.floats(0, 1e9))
def test_an_unreachable_cluster_ends_and_cancels_nothing_that_is_wanted(record, down):
    actions = decide(record, Sight(down_for=down))
    ended = [a for a in actions if isinstance(a, Save) and not a.server.active]
    assert ended == []
    if record.active and record.target is Target.READY and record.status is not Status.STOPPING:
        assert not [a for a in actions if isinstance(a, (Cancel, DropRoute, Settle))]


@settings(deadline=None)
@given(records, sights)
def test_a_route_is_published_only_after_a_ready_record_and_dropped_before_an_end(record, sight):
    actions = decide(record, sight)
    kinds = shape(actions)
    if "PublishRoute" in kinds:
        assert kinds.index("save ready") < kinds.index("PublishRoute")
    for action in actions:
        if isinstance(action, Save) and record.status is Status.READY and action.server.status is not Status.READY:
            assert kinds.index("DropRoute") < actions.index(action)


@settings(deadline=None)
@given(records, sights)
def test_a_server_that_should_stop_is_never_submitted(record, sight):
    if Submit() in decide(record, sight):
        assert record.target is Target.READY
        assert record.status is Status.REQUESTED


@settings(deadline=None)
@given(records, sights)
def test_every_end_has_a_reason_with_a_message(record, sight):
    for action in decide(record, sight):
        if isinstance(action, Save) and not action.server.active:
            assert action.server.reason.code
            assert (
                action.server.reason.message.endswith(".") or action.server.reason.message == sight.view.report.message
            )


def test_the_secrets_of_the_job_take_precedence():
    older = server(report_hash="old", credential="token old", token_hash="of the old")
    record = server(report_hash="new", credential="token new", token_hash="of the new")
    saved = decide(record, seen(JobState.QUEUED, record=older))[0].server
    assert (saved.report_hash, saved.credential, saved.token_hash) == ("old", "token old", "of the old")


def test_an_app_that_exits_successfully_is_stopped_and_not_failed():
    word = Report(kind="ended", attempt=ATTEMPT, exit_code=0)
    saved = decide(server(Status.READY), seen(JobState.COMPLETED, report=word))[1].server
    assert (saved.status, saved.reason.code) == (Status.STOPPED, "app-ended")


# --- jobs that no record requests

OTHER = "b" * 32


def test_a_job_of_an_earlier_attempt_is_cancelled():
    view = job(JobState.ACTIVE, attempt=OTHER, record=server(attempt=OTHER, requested=800.0))
    assert orphan(view, server(), cluster="here", now=NOW) == [Cancel("here", OTHER, JOB)]


def test_a_job_that_is_newer_than_an_ended_record_is_adopted():
    view = job(JobState.ACTIVE, attempt=OTHER, record=server(attempt=OTHER, requested=990.0))
    old = server(Status.STOPPED, Target.STOPPED, revision=8, fence=3)
    (adopt,) = orphan(view, old, cluster="here", now=NOW)
    assert (adopt.server.attempt, adopt.server.revision, adopt.server.fence) == (OTHER, 8, 3)


def test_a_job_that_is_newer_than_a_running_record_is_not_touched():
    view = job(JobState.ACTIVE, attempt=OTHER, record=server(attempt=OTHER, requested=990.0))
    assert orphan(view, server(Status.READY), cluster="here", now=NOW) == []


def test_a_job_of_unknown_age_is_not_touched():
    assert orphan(job(JobState.ACTIVE, attempt=OTHER), server(), cluster="here", now=NOW) == []


def test_a_ready_job_without_a_record_is_adopted_with_its_route():
    view = job(JobState.ACTIVE, report=READY_WORD, record=server(revision=5, fence=9, credential="token x"))
    adopt, publish = orphan(view, None, cluster="here", now=NOW)
    assert isinstance(adopt, Adopt)
    assert (adopt.server.status, adopt.server.endpoint) == (Status.READY, SOCKET)
    assert (adopt.server.revision, adopt.server.fence, adopt.server.credential) == (0, 0, "token x")
    assert publish == PublishRoute(adopt.server)


def test_a_job_whose_removed_record_had_ended_is_cancelled():
    view = job(JobState.ACTIVE, report=READY_WORD, record=server())
    assert orphan(view, None, cluster="here", now=NOW, over=True) == [Cancel("here", view.attempt, JOB)]
    assert orphan(job(JobState.COMPLETED, record=server()), None, cluster="here", now=NOW, over=True) == []


def test_an_ended_job_without_a_record_is_ignored():
    for state in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELED):
        assert orphan(job(state, record=server()), None, cluster="here", now=NOW) == []


def test_the_current_attempt_is_not_an_orphan():
    assert orphan(job(JobState.ACTIVE), server(Status.FAILED, Target.STOPPED), cluster="here", now=NOW) == []


# --- routes


def test_routes_are_compared_with_ready_servers():
    ready, queued = server(Status.READY), server(Status.QUEUED, user="bob")
    route = route_of(ready, "/")
    assert route_changes([ready, queued], [route], "/") == ([], [])
    assert route_changes([ready], [], "/") == ([ready], [])
    assert route_changes([ready], [replace(route, attempt=OTHER)], "/") == ([ready], [])
    stray = replace(route, prefix="/user/bob/", user="bob")
    assert route_changes([ready, queued], [route, stray], "/") == ([], [stray])


# --- why it waits, where it runs, until when

BUSY = Waiting(code="Resources", message="It waits until enough is free.", start=1260.0, position=2, of=5)
HELD = Waiting(code="JobHeldAdmin", message="An administrator has put it on hold.")
NEAR = 10_000.0


def test_the_reason_for_waiting_is_saved_once_with_an_event():
    (save,) = decide(server(Status.QUEUED), seen(JobState.QUEUED, waiting=BUSY))
    assert (save.server.waiting, save.message) == (BUSY, BUSY.message)
    assert decide(save.server, seen(JobState.QUEUED, waiting=BUSY)) == []


@pytest.mark.parametrize(
    ("now", "saved", "message"),
    [
        (replace(BUSY, position=1), True, ""),
        (replace(BUSY, start=1320.0), True, ""),
        (replace(BUSY, start=1230.0), False, ""),  # the same minute, rounded up
        (replace(BUSY, start=1200.5), False, ""),
        (replace(BUSY, of=9), False, ""),  # jobs that queue behind it are not news
        (HELD, True, HELD.message),
        (Waiting(code="None", message="Slurm has not looked at the job yet."), True, ""),
        (None, True, ""),
    ],
)
def test_only_a_changed_message_is_news_in_the_queue(now, saved, message):
    actions = decide(server(Status.QUEUED, waiting=BUSY), seen(JobState.QUEUED, waiting=now))
    assert [action.message for action in actions] == ([message] if saved else [])


def test_a_queued_job_shows_immediately_why_it_waits():
    (save,) = decide(server(), seen(JobState.QUEUED, waiting=BUSY))
    assert save.message == "Waiting in the queue of here. It waits until enough is free."
    assert save.server.waiting == BUSY


@pytest.mark.parametrize("state", [JobState.ACTIVE, JobState.COMPLETED, JobState.FAILED])
def test_a_job_that_left_the_queue_has_no_reason_to_wait(state):
    actions = decide(server(Status.QUEUED, waiting=BUSY), seen(state, node="cn1", deadline=NEAR))
    (saved,) = [action.server for action in actions if isinstance(action, Save)]
    assert saved.waiting is None
    if state is JobState.ACTIVE:
        assert (saved.node, saved.deadline) == ("cn1", NEAR)


def test_a_stop_in_the_queue_removes_the_reason_to_wait():
    saved = decide(server(Status.QUEUED, Target.STOPPED, waiting=BUSY), seen(JobState.QUEUED, waiting=BUSY))[1].server
    assert (saved.status, saved.waiting) == (Status.STOPPING, None)


def test_a_changed_deadline_is_saved_without_an_event():
    (save,) = decide(server(Status.READY, deadline=NEAR), seen(JobState.ACTIVE, deadline=NEAR + 3600))
    assert (save.server.deadline, save.message) == (NEAR + 3600, "")


def test_an_adopted_job_has_its_node_its_deadline_and_its_reason_to_wait():
    running = job(JobState.ACTIVE, record=server(), node="cn1", deadline=NEAR)
    (adopt,) = orphan(running, None, cluster="here", now=NOW)
    assert (adopt.server.node, adopt.server.deadline, adopt.server.waiting) == ("cn1", NEAR, None)
    (adopt,) = orphan(job(JobState.QUEUED, record=server(), waiting=BUSY), None, cluster="here", now=NOW)
    assert adopt.server.waiting == BUSY


# --- back to the queue

NODE_FAILED = Reason(code="node-failed", message="The node cn1 failed while the job ran on it.", hint="Start again.")


@pytest.mark.parametrize("status", [Status.STARTING, Status.READY])
def test_a_requeued_job_loses_its_route_and_says_why(status):
    drop, save = decide(
        server(status, node="cn1", deadline=NEAR, warned=15), seen(JobState.QUEUED, ending=NODE_FAILED, waiting=HELD)
    )
    assert isinstance(drop, DropRoute)
    assert save.message == "The scheduler has requeued the job. " + NODE_FAILED.message
    saved = save.server
    assert (saved.status, saved.endpoint, saved.node, saved.deadline, saved.warned) == (
        Status.QUEUED,
        None,
        "",
        None,
        0,
    )
    assert saved.waiting == HELD


def test_after_a_requeue_the_same_server_becomes_ready_on_another_node():
    record = server(Status.READY, node="cn1", deadline=NEAR)
    record = decide(record, seen(JobState.QUEUED))[-1].server
    record = decide(record, seen(JobState.ACTIVE, node="cn2", deadline=NEAR + 60))[-1].server
    assert (record.status, record.node, record.running) == (Status.STARTING, "cn2", NOW)
    elsewhere = Endpoint(kind="tls", host="127.77.0.12", port=4711, name="x")
    word = Report(kind="ready", attempt=ATTEMPT, endpoint=elsewhere)
    save, publish = decide(record, seen(JobState.ACTIVE, node="cn2", report=word))
    assert (save.server.status, save.server.endpoint, save.server.node) == (Status.READY, elsewhere, "cn2")
    assert publish == PublishRoute(save.server)
    assert save.server.attempt == ATTEMPT


def test_a_requeue_between_two_polls_is_detected_by_the_new_start():
    drop, save = decide(server(Status.READY), seen(JobState.ACTIVE, started=960.0 + RESTART_MARGIN + 1))
    assert isinstance(drop, DropRoute)
    assert save.server.status is Status.STARTING
    assert decide(server(Status.READY), seen(JobState.ACTIVE, started=955.0)) == []
    assert decide(server(Status.READY), seen(JobState.ACTIVE, started=970.0)) == []  # clocks differ a little


# --- the time limit


@pytest.mark.parametrize(
    ("left", "warned", "then", "words"),
    [
        (901.0, 0, 0, ""),
        (900.0, 0, 15, "The time limit is reached in 15 minutes. Save your work."),
        (850.0, 0, 15, "The time limit is reached in 14 minutes. Save your work."),
        (700.0, 15, 15, ""),
        (300.0, 15, 5, "The time limit is reached in 5 minutes. Save your work."),
        (61.0, 0, 5, "The time limit is reached in 1 minute. Save your work."),
        (299.0, 5, 5, ""),
        (-5.0, 0, 5, ""),  # it has passed
        (3600.0, 5, 0, ""),  # an admin has extended it
        (800.0, 5, 15, ""),  # a small extension: no second warning
    ],
)
def test_users_are_warned_15_and_5_minutes_before_the_time_limit(left, warned, then, words):
    record = server(Status.READY, deadline=NOW + left, warned=warned, running=NOW - 7200, ready=NOW - 7100)
    actions = decide(record, seen(JobState.ACTIVE))
    if then == warned:
        assert actions == []
    else:
        assert [(action.server.warned, action.message) for action in actions] == [(then, words)]


def test_the_user_of_a_short_job_is_not_warned_at_its_start():
    record = server(Status.READY, running=NOW - 10, ready=NOW, deadline=NOW + 590)
    assert [action.message for action in decide(record, seen(JobState.ACTIVE))] == [""]
    later = decide(record, seen(JobState.ACTIVE), now=NOW + 300)
    assert [action.message for action in later] == ["The time limit is reached in 5 minutes. Save your work."]


# --- why it ended

OOM = Reason(code="out-of-memory", message="The job ran out of memory.", hint="Ask for more memory.", field="memory")
KILLED = Report(kind="ended", attempt=ATTEMPT, exit_code=-9, log_tail="Killed")


def test_the_schedulers_cause_takes_precedence_and_the_starters_log_is_kept():
    saved = decide(server(Status.READY), seen(JobState.FAILED, ending=OOM, report=KILLED))[1].server
    assert saved.reason == replace(OOM, log_tail="Killed", exit_code=-9)
    saved = decide(server(Status.STARTING), seen(JobState.FAILED, ending=OOM, exit_code=137))[1].server
    assert saved.reason == replace(OOM, exit_code=137)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, " (exit code 1)"),
        (0, " (exit code 0)"),
        (137, " (exit code 137: SIGKILL)"),
        (139, " (exit code 139: SIGSEGV)"),
        (-15, " (ended by SIGTERM)"),
        (255, " (exit code 255)"),
        (128, " (exit code 128)"),
        (None, ""),
    ],
)
def test_exit_codes_include_the_name_of_the_signal(code, words):
    assert exit_text(code) == words


def test_a_killed_app_hints_at_memory():
    saved = decide(server(Status.READY), seen(JobState.FAILED, report=KILLED))[1].server
    assert saved.reason.message == "The app exited unexpectedly (ended by SIGKILL)."
    assert "ran out of memory" in saved.reason.hint


def ended(code, *, status=Status.FAILED, ago=5.0, tail="the log"):
    reason = Reason(code=code, message="The app exited unexpectedly (exit code 137).", log_tail=tail, exit_code=137)
    return server(status, Target.STOPPED, reason=reason, ended=NOW - ago)


@pytest.mark.parametrize("code", ["app-died", "app-exited", "start-failed", "cancelled", "lost"])
def test_a_guess_is_replaced_by_the_cause_from_accounting(code):
    drop, save, settle = decide(ended(code), seen(JobState.FAILED, ending=OOM))
    assert save.server.reason == replace(OOM, log_tail="the log", exit_code=137)
    assert save.message == OOM.message
    assert (isinstance(drop, DropRoute), isinstance(settle, Settle)) == (True, True)
    assert shape(decide(save.server, seen(JobState.FAILED, ending=OOM))) == ["DropRoute", "Settle"]


def test_details_from_accounting_are_added_to_a_cause():
    known = ended("out-of-memory")
    save = decide(known, seen(JobState.FAILED, ending=OOM))[1]
    assert save.server.reason == replace(OOM, log_tail="the log", exit_code=137)


def test_a_job_whose_app_has_ended_gets_time_to_end_before_it_is_cancelled():
    runs = seen(JobState.ACTIVE)
    assert shape(decide(ended("app-died", ago=9.0), runs)) == ["DropRoute"]
    assert shape(decide(ended("app-died", ago=11.0), runs)) == ["DropRoute", "Cancel"]
    assert shape(decide(ended("no-answer", ago=1.0), runs)) == ["DropRoute", "Cancel"]
    assert shape(decide(ended("stopped", status=Status.STOPPED, ago=1.0), runs)) == ["DropRoute", "Cancel"]


def test_an_app_that_seemed_to_exit_was_cancelled():
    by_root = Reason(code="cancelled", message="An admin cancelled the job.", hint="Ask why.")
    save = decide(ended("app-ended", status=Status.STOPPED), seen(JobState.CANCELED, ending=by_root))[1]
    assert (save.server.status, save.server.reason.message) == (Status.FAILED, by_root.message)


def test_a_failed_app_is_not_shown_as_cancelled_by_the_hubs_own_cleanup():
    by_root = Reason(code="cancelled", message="An admin cancelled the job.")
    failed = ended("exited")
    failed = replace(failed, reason=replace(failed.reason, exit_code=3))
    assert shape(decide(failed, seen(JobState.CANCELED, ending=by_root))) == ["DropRoute", "Settle"]


@pytest.mark.parametrize("code", ["stopped", "no-answer", "command", "folder", "config"])
def test_a_reason_from_the_hub_or_the_starter_stays(code):
    assert shape(decide(ended(code), seen(JobState.CANCELED, ending=OOM))) == ["DropRoute", "Settle"]


def test_a_cause_that_is_too_late_changes_nothing():
    actions = decide(ended("app-died", ago=LATE_SECONDS + 1), seen(JobState.FAILED, ending=OOM))
    assert shape(actions) == ["DropRoute", "Settle"]


# --- an end that the scheduler requested, as the gateway has noted it

NOTED = Reason(code="told", message="The scheduler told the job to end.", log_tail="bye", exit_code=0)


def test_a_requested_end_is_explained_by_the_scheduler_with_the_noted_log():
    saved = decide(server(Status.READY, reason=NOTED), seen(JobState.FAILED, ending=OOM))[1].server
    assert saved.reason == replace(OOM, log_tail="bye", exit_code=0)
    saved = decide(server(Status.READY, reason=NOTED), seen(JobState.CANCELED))[1].server
    assert (saved.reason.code, saved.reason.log_tail) == ("cancelled", "bye")


def test_a_requested_end_can_be_a_requeue():
    saved = decide(server(Status.READY, reason=NOTED), seen(JobState.QUEUED))[1].server
    assert (saved.status, saved.reason) == (Status.QUEUED, None)


def test_the_route_of_an_ended_app_is_not_published_again():
    ready = server(Status.READY, reason=NOTED)
    assert route_changes([ready], [], "/") == ([], [])
    assert route_changes([ready], [route_of(ready, "/")], "/") == ([], [route_of(ready, "/")])


# --- a changed request -----------------------------------------------------------------------------------------------
EDITED = {"walltime": "01:00:00"}


def test_a_changed_request_of_a_waiting_job_is_applied_once():
    assert decide(server(Status.QUEUED, edited=EDITED), seen(JobState.QUEUED)) == [Edit()]
    assert decide(server(Status.QUEUED), seen(JobState.QUEUED)) == []


def test_a_request_that_was_changed_before_its_submit_is_submitted_as_changed():
    (save,) = decide(server(edited=EDITED), Sight(fresh=True))
    assert (save.server.choices, save.server.edited) == (EDITED, None)
    assert decide(server(edited=EDITED, report_hash="x"), Sight(fresh=True)) == [Submit()]  # it may be there already


@pytest.mark.parametrize("status", [Status.QUEUED, Status.STARTING, Status.READY])
def test_a_change_that_comes_too_late_is_reported_and_changes_nothing(status):
    (save,) = decide(server(status, edited=EDITED), seen(JobState.ACTIVE))
    assert (save.server.edited, save.server.choices) == (None, {})
    assert save.message == "The job started before its request could be changed."


def test_a_stopped_request_is_not_changed_any_more():
    assert Edit() not in decide(server(Status.QUEUED, Target.STOPPED, edited=EDITED), seen(JobState.QUEUED))


# --- suspended, requeued, and the time limit --------------------------------------------------------------------------
def test_a_suspended_job_is_reported_once_and_its_silence_has_no_consequence():
    started = server(Status.STARTING, running=NOW - WINDOW - WINDOW_MARGIN - 1)
    frozen = seen(JobState.ACTIVE, suspended=True)
    (save,) = decide(started, frozen)
    assert save.server.suspended
    assert "has suspended the job" in save.message
    assert decide(save.server, frozen) == []  # the start window does not run out
    (resumed,) = decide(save.server, seen(JobState.ACTIVE))
    assert (resumed.server.suspended, resumed.server.running) == (False, NOW)
    assert "has resumed the job" in resumed.message


def test_a_suspended_server_is_not_warned_of_a_time_limit_that_moves():
    ready = server(Status.READY, running=NOW - 7200, ready=NOW - 7100, deadline=NOW + 240, suspended=True)
    assert decide(ready, seen(JobState.ACTIVE, suspended=True)) == []


def test_a_requeue_is_reported_only_if_the_scheduler_reports_it():
    ready = server(Status.READY)
    assert decide(ready, seen(JobState.QUEUED))[1].message == "The scheduler shows the job as waiting again."
    assert decide(ready, seen(JobState.QUEUED, restarts=1))[1].message.startswith("The scheduler has requeued the job.")


def test_an_end_at_the_time_limit_is_no_failure():
    reason = Reason(code="walltime", message="The job reached its time limit of 1 hour.")
    save = decide(server(Status.READY), seen(JobState.FAILED, ending=reason))[1]
    assert (save.server.status, save.server.reason.message) == (Status.STOPPED, reason.message)
    late = decide(ended("app-died"), seen(JobState.FAILED, ending=reason))[1]
    assert late.server.status is Status.STOPPED
