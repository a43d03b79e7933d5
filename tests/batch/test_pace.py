"""When a cluster is polled next: the table of stages, and how requests of many servers share a poll."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from batch.contract import JobState, JobView
from batch.controller.poll_schedule import GAPS, HERE, IDLE, PollRequest, Stage, next_look, stage_of
from batch.controller.reconcile import Sight
from state.records.models import Reason, Status, Target
from state.records.readiness import END_REPORTED
from tests.batch.rig import fresh

RECORD = fresh()
VIEW = JobView(attempt=RECORD.attempt, user="alice", server="", state=JobState.QUEUED)
QUEUED, ACTIVE, FAILED = (
    Sight(view=replace(VIEW, state=state)) for state in (JobState.QUEUED, JobState.ACTIVE, JobState.FAILED)
)
UNSURE = Sight(view=replace(VIEW, state=JobState.ACTIVE, unsure=True))
UNSEEN, ABSENT = Sight(), Sight(fresh=True)
SIGHTS = (UNSEEN, ABSENT, QUEUED, ACTIVE, FAILED, UNSURE)
S = Stage


def record(status, **more):
    return replace(RECORD, status=status, **more)


def over(status, code):
    return record(status, target=Target.STOPPED, reason=Reason(code=code, message="It ended."))


@pytest.mark.parametrize(
    ("server", "stages"),
    # unseen, absent, queued, active, failed, unsure
    [
        (None, (None, None, S.WAITING, S.RUNNING, None, S.DOUBT)),
        (record(Status.REQUESTED), (None, None, S.WAITING, S.RUNNING, None, S.DOUBT)),
        (record(Status.QUEUED), (S.SUBMITTED, S.DOUBT, S.WAITING, S.RUNNING, None, S.DOUBT)),
        (record(Status.STARTING), (S.STARTING, S.DOUBT, S.STARTING, S.STARTING, S.STARTING, S.DOUBT)),
        (record(Status.READY), (S.ENDLESS, S.DOUBT, S.ENDLESS, S.RUNNING, S.ENDLESS, S.DOUBT)),
        (record(Status.READY, deadline=9.0), (S.RUNNING, S.DOUBT, S.RUNNING, S.RUNNING, S.RUNNING, S.DOUBT)),
        (
            record(Status.READY, reason=Reason(code=END_REPORTED, message="Reported.")),
            (S.CAUSE, None, S.CAUSE, S.CAUSE, None, S.DOUBT),
        ),
        (record(Status.READY, target=Target.STOPPED), (S.ENDING, None, S.ENDING, S.ENDING, None, S.DOUBT)),
        (record(Status.STOPPING, target=Target.STOPPED), (S.ENDING, None, S.ENDING, S.ENDING, None, S.DOUBT)),
        (over(Status.STOPPED, "stopped"), (S.ENDING, None, S.ENDING, S.ENDING, None, S.DOUBT)),
        (over(Status.STOPPED, "app-ended"), (S.CAUSE, None, S.CAUSE, S.CAUSE, None, S.DOUBT)),
        (over(Status.FAILED, "app-died"), (S.CAUSE, None, S.CAUSE, S.CAUSE, None, S.DOUBT)),
    ],
    ids=lambda one: one.status if hasattr(one, "status") else "",
)
def test_the_stage_follows_from_the_record_and_the_view(server, stages):
    assert tuple(stage_of(server, sight) for sight in SIGHTS) == stages


def looks(stage, count, *, since=0.0, last=0.0):
    """Return when polls for one server are due while its stage stays the same, in ticks."""
    found = []
    for number in range(count):
        last = next_look([PollRequest(attempt="a", stage=stage, since=since, looks=number)], last=last, tick=1.0)
        found.append(round(last, 1))
    return found


def test_each_stage_has_its_gaps():
    assert looks(S.SUBMITTED, 1) == [2.0]
    assert looks(S.WAITING, 6) == [5.0, 15.0, 35.0, 55.0, 75.0, 95.0]
    assert looks(S.RUNNING, 3) == [60.0, 120.0, 180.0]
    assert looks(S.ENDLESS, 3) == [2.0, 22.0, 82.0]
    assert looks(S.CAUSE, 6) == [0.1, 1.1, 3.1, 8.1, 18.1, 28.1]
    assert looks(S.ENDING, 4) == [2.0, 4.0, 9.0, 19.0]
    assert looks(S.DOUBT, 5) == [1.0, 2.0, 4.0, 6.0, 11.0]


def test_polls_are_rare_without_jobs():
    assert next_look([], last=7.0, tick=0.5) == 7.0 + IDLE / 2


def test_submits_at_the_same_time_share_a_poll_and_none_waits_long():
    def due(*times):
        return next_look(
            [PollRequest(attempt=str(at), stage=S.SUBMITTED, since=at) for at in times], last=0.0, tick=1.0
        )

    assert due(10.0) == 12.0
    assert due(10.0, 11.0) == 13.0
    assert due(*range(10, 30)) == 15.0


def test_a_local_cluster_is_polled_every_tick_while_something_changes():
    for stage in set(Stage) - {S.RUNNING, S.CAUSE}:
        assert next_look(
            [PollRequest(attempt="a", stage=stage, since=3.0)], last=3.0, tick=0.2, gaps=HERE
        ) == pytest.approx(3.2)


WISHES = st.builds(
    PollRequest, attempt=st.just("a"), stage=st.sampled_from(Stage), since=st.floats(0, 1000), looks=st.integers(0, 50)
)


@given(st.lists(WISHES), st.lists(WISHES), st.floats(0, 1000), st.floats(0.01, 10))
def test_another_request_never_delays_a_poll_except_after_a_submit(some, more, last, tick):
    first = next_look(some, last=last, tick=tick)
    both = next_look([*some, *more], last=last, tick=tick)
    assert both <= first + 5 * tick
    if not any(wish.stage is S.SUBMITTED for wish in more):
        assert both <= first


@given(WISHES, st.floats(0, 1000), st.floats(0.01, 10))
def test_every_request_is_served_and_none_before_it_is_made(wish, last, tick):
    due = next_look([wish], last=last, tick=tick)
    assert due >= min(wish.since, last)
    assert due <= max(wish.since, last) + IDLE * tick


def test_gaps_grow_while_nothing_changes():
    for gaps in GAPS.values():
        assert all(first <= second for first, second in itertools.pairwise(gaps))
