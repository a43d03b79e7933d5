"""A job's own report is faster than the next poll: an older view of it in the queue changes nothing."""

import pytest
from msgspec.structs import replace

from batch.contract import JobState, JobView
from batch.controller.reconcile import CLOCKS_APART, DropRoute, Save, Sight, reconcile
from state.records.models import Endpoint, Server, Status, Target

NOW = 1000.0
ATTEMPT = "a" * 32
ENDPOINT = Endpoint(kind="tls", host="10.0.0.11", port=40001, name=f"{ATTEMPT}.towpath.internal")


def server(status):
    return Server(
        user="alice",
        target=Target.READY,
        status=status,
        attempt=ATTEMPT,
        profile="lab",
        cluster="slurm",
        requested=900.0,
        running=990.0,
        endpoint=ENDPOINT if status is Status.READY else None,
        ready=991.0 if status is Status.READY else None,
    )


def seen(state, as_of, **more):
    view = JobView(attempt=ATTEMPT, user="alice", server="", state=state, native_id="7", **more)
    return Sight(view=view, fresh=True, as_of=as_of)


@pytest.mark.parametrize("status", [Status.STARTING, Status.READY])
def test_an_older_poll_does_not_undo_a_report(status):
    for as_of in (0.0, 985.0, 990.0 + CLOCKS_APART / 2):
        assert reconcile(server(status), seen(JobState.QUEUED, as_of), now=NOW, window=300) == []


@pytest.mark.parametrize("status", [Status.STARTING, Status.READY])
def test_a_job_that_is_in_the_queue_after_its_report_was_requeued(status):
    actions = reconcile(server(status), seen(JobState.QUEUED, 996.0), now=NOW, window=300)
    assert isinstance(actions[0], DropRoute)
    assert isinstance(actions[1], Save)
    assert actions[1].server.status is Status.QUEUED


def test_a_requeue_since_the_last_report_is_accepted_immediately():
    ready = server(Status.READY)
    assert reconcile(ready, seen(JobState.QUEUED, 991.0, restarts=0), now=NOW, window=300) == []
    actions = reconcile(ready, seen(JobState.QUEUED, 991.0, restarts=1), now=NOW, window=300)
    assert actions[1].server.status is Status.QUEUED
    again = replace(server(Status.STARTING), restart=1)  # it has reported from its second run
    assert reconcile(again, seen(JobState.QUEUED, 991.0, restarts=1), now=NOW, window=300) == []


def test_an_end_counts_whenever_it_was_seen():
    actions = reconcile(server(Status.READY), seen(JobState.FAILED, 985.0), now=NOW, window=300)
    assert actions[1].server.status is Status.FAILED
