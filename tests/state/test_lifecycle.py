"""The lifecycle table: every transition, and random walks that keep a record consistent."""

import itertools

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace

from state.errors import TransitionError
from state.records.lifecycle import NEXT, PROGRESS, advance, renew
from state.records.models import Endpoint, JobRef, Reason, Server, Status, Target

ENDPOINT = Endpoint(kind="unix", path="/run/app.sock")
JOB = JobRef(cluster="local", native_id="1")


def record(status=Status.REQUESTED, attempt="a" * 32):
    return Server(
        user="ann",
        target=Target.READY,
        status=status,
        attempt=attempt,
        profile="p",
        cluster="local",
        requested=1.0,
        credential="secret",
        report_hash="f" * 64,
        revision=4,
        fence=2,
    )


def test_the_table_and_the_progress_cover_every_status():
    assert set(NEXT) == set(PROGRESS) == set(Status)


@pytest.mark.parametrize(("before", "after"), list(itertools.product(Status, Status)))
def test_a_transition_is_allowed_if_and_only_if_the_table_has_it(before, after):
    server = record(before)
    if before is after:
        assert advance(server, after, now=9.0) is server
    elif after in NEXT[before] and after is not Status.REQUESTED:
        assert advance(server, after, now=9.0, endpoint=ENDPOINT).status is after
    else:
        with pytest.raises(TransitionError):
            advance(server, after, now=9.0, endpoint=ENDPOINT)


@pytest.mark.parametrize("status", [status for status in Status if record(status).active])
def test_a_stop_and_a_failure_are_valid_in_every_active_status(status):
    assert Status.FAILED in NEXT[status]
    assert status is Status.STOPPING or Status.STOPPING in NEXT[status]


def test_ready_needs_an_endpoint():
    with pytest.raises(TransitionError, match="endpoint"):
        advance(record(Status.STARTING), Status.READY, now=2.0)


@pytest.mark.parametrize(("old", "new"), list(itertools.product(Status, Status)))
def test_a_new_attempt_replaces_only_an_ended_one(old, new):
    before, fresh = record(old), replace(record(new, attempt="b" * 32), revision=0, fence=0)
    if not before.active and new is Status.REQUESTED:
        renewed = renew(before, fresh)
        assert (renewed.attempt, renewed.revision, renewed.fence) == ("b" * 32, 4, 2)
        with pytest.raises(TransitionError):
            renew(before, replace(fresh, attempt=before.attempt))
    else:
        with pytest.raises(TransitionError):
            renew(before, fresh)


class Walk(RuleBasedStateMachine):
    """Transitions in any order, valid or not."""

    @initialize()
    def begin(self):
        self.now = 10.0
        self.attempts = 1
        self.server = record()

    @rule(
        status=st.sampled_from(Status),
        pause=st.floats(0, 100),
        with_endpoint=st.booleans(),
        job=st.sampled_from([None, JOB]),
        stale=st.booleans(),
    )
    def step(self, status, pause, with_endpoint, job, stale):
        self.now += pause
        before = replace(self.server, stale=stale) if self.server.active else self.server
        reason = Reason(code="x", message="Because.")
        try:
            self.server = advance(
                before, status, now=self.now, job=job, endpoint=ENDPOINT if with_endpoint else None, reason=reason
            )
        except TransitionError:
            assert status not in NEXT[before.status] or status in {Status.READY, Status.REQUESTED}
        else:
            assert (self.server.attempt, self.server.revision) == (before.attempt, before.revision)
            assert self.server is before or not self.server.stale or status is Status.STOPPING

    @rule()
    def again(self):
        fresh = record(attempt=f"{self.attempts:032x}")
        try:
            self.server = renew(self.server, fresh)
        except TransitionError:
            assert self.server.active
        else:
            self.attempts += 1

    @invariant()
    def facts_fit_the_status(self):
        server = self.server
        if server.status is Status.READY:
            assert server.endpoint is not None
            assert server.running is not None
            assert server.ready >= server.running
        if server.status in {Status.REQUESTED, Status.QUEUED, Status.STARTING}:
            assert server.endpoint is None
            assert server.ready is None
        if server.active:
            assert server.ended is None
            assert server.credential == "secret"
        else:
            assert server.endpoint is None
            assert server.credential == server.report_hash == ""
            assert server.target is Target.STOPPED
        if server.status is Status.STOPPING:
            assert server.target is Target.STOPPED


TestWalk = Walk.TestCase
