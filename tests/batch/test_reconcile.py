"""The decisions of the controller, as a table and as properties."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from batch.contract import JobState, JobView, Report
from batch.hands import route_of
from batch.leader import mend
from batch.reconcile import (
    LOST_SECONDS,
    STALE_SECONDS,
    WINDOW_MARGIN,
    Adopt,
    Cancel,
    DropRoute,
    PublishRoute,
    Save,
    Settle,
    Sight,
    Submit,
    orphan,
    reconcile,
)
from state.records import Endpoint, JobRef, Server, Status, Target

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
    # (what is recorded, what is seen, what is done)
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
    (server(Status.STARTING, running=NOW - 9999), UNKNOWN, []),  # who does not see the job does not judge it
    (server(Status.QUEUED, requested=0.0), seen(JobState.QUEUED), []),  # a queue has no time-out
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
)
records = st.builds(
    server,
    st.sampled_from(Status),
    st.sampled_from(Target),
    stale=st.booleans(),
    running=st.one_of(st.none(), st.floats(0, NOW)),
    job=st.one_of(st.none(), st.just(JOB)),
).map(lambda record: record if record.active else replace(record, target=Target.STOPPED))
sights = st.one_of(
    st.builds(lambda view: Sight(view=view, fresh=True), views),
    st.builds(lambda view, down: Sight(view=view, down_for=down), views, st.floats(0, 9999)),
    st.builds(lambda absent: Sight(fresh=True, absent_for=absent), st.floats(0, 9999)),
    st.builds(lambda down: Sight(down_for=down), st.floats(0, 9999)),
)


@settings(deadline=None)
@given(records, sights)
def test_the_table_knows_every_pair_and_a_second_look_finds_nothing_to_save(record, sight):
    """Level-triggered: after the saves, the same sight asks for no further save of the same status."""
    for _ in range(6):
        saves = [action for action in decide(record, sight) if isinstance(action, Save)]
        if not saves:
            return
        record = saves[-1].server
    raise AssertionError(f"never at rest: {record}")


@settings(deadline=None)
@given(records, st.floats(0, 1e9))
def test_a_cluster_that_is_not_seen_ends_and_cancels_nothing_that_is_wanted(record, down):
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
def test_nothing_is_submitted_that_somebody_wants_stopped(record, sight):
    if Submit() in decide(record, sight):
        assert record.target is Target.READY
        assert record.status is Status.REQUESTED


@settings(deadline=None)
@given(records, sights)
def test_every_end_has_a_reason_in_a_sentence(record, sight):
    for action in decide(record, sight):
        if isinstance(action, Save) and not action.server.active:
            assert action.server.reason.code
            assert (
                action.server.reason.message.endswith(".") or action.server.reason.message == sight.view.report.message
            )


def test_the_secrets_that_the_job_really_has_win():
    older = server(report_hash="old", credential="token old")
    record = server(report_hash="new", credential="token new")
    saved = decide(record, seen(JobState.QUEUED, record=older))[0].server
    assert (saved.report_hash, saved.credential) == ("old", "token old")


def test_an_app_that_ends_well_by_itself_is_stopped_not_failed():
    word = Report(kind="ended", attempt=ATTEMPT, exit_code=0)
    saved = decide(server(Status.READY), seen(JobState.COMPLETED, report=word))[1].server
    assert (saved.status, saved.reason.code) == (Status.STOPPED, "app-ended")


# --- jobs that no record asks for

OTHER = "b" * 32


def test_a_job_of_an_earlier_attempt_is_cancelled():
    view = job(JobState.ACTIVE, attempt=OTHER, record=server(attempt=OTHER, requested=800.0))
    assert orphan(view, server(), cluster="here", now=NOW) == [Cancel("here", OTHER, JOB)]


def test_a_job_that_is_newer_than_an_ended_record_is_adopted():
    view = job(JobState.ACTIVE, attempt=OTHER, record=server(attempt=OTHER, requested=990.0))
    old = server(Status.STOPPED, Target.STOPPED, revision=8, fence=3)
    (adopt,) = orphan(view, old, cluster="here", now=NOW)
    assert (adopt.server.attempt, adopt.server.revision, adopt.server.fence) == (OTHER, 8, 3)


def test_a_job_that_is_newer_than_a_running_record_is_left_alone():
    view = job(JobState.ACTIVE, attempt=OTHER, record=server(attempt=OTHER, requested=990.0))
    assert orphan(view, server(Status.READY), cluster="here", now=NOW) == []


def test_a_job_whose_age_is_not_known_is_left_alone():
    assert orphan(job(JobState.ACTIVE, attempt=OTHER), server(), cluster="here", now=NOW) == []


def test_a_ready_job_without_a_record_is_adopted_with_its_route():
    view = job(JobState.ACTIVE, report=READY_WORD, record=server(revision=5, fence=9, credential="token x"))
    adopt, publish = orphan(view, None, cluster="here", now=NOW)
    assert isinstance(adopt, Adopt)
    assert (adopt.server.status, adopt.server.endpoint) == (Status.READY, SOCKET)
    assert (adopt.server.revision, adopt.server.fence, adopt.server.credential) == (0, 0, "token x")
    assert publish == PublishRoute(adopt.server)


def test_an_ended_job_without_a_record_is_left():
    for state in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELED):
        assert orphan(job(state, record=server()), None, cluster="here", now=NOW) == []


def test_the_current_attempt_is_no_orphan():
    assert orphan(job(JobState.ACTIVE), server(Status.FAILED, Target.STOPPED), cluster="here", now=NOW) == []


# --- routes


def test_routes_are_compared_with_ready_servers():
    ready, queued = server(Status.READY), server(Status.QUEUED, user="bob")
    route = route_of(ready, "/")
    assert mend([ready, queued], [route], "/") == ([], [])
    assert mend([ready], [], "/") == ([ready], [])
    assert mend([ready], [replace(route, attempt=OTHER)], "/") == ([ready], [])
    stray = replace(route, prefix="/user/bob/", user="bob")
    assert mend([ready, queued], [route, stray], "/") == ([], [stray])
