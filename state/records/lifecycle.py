"""The lifecycle of a server: one table, and the effect of each transition on the record.

Owns which status can follow which, and the facts that change with it (times, route, progress). Does not know who
requests a transition, what a scheduler is, or how a record is saved.

    requested -> queued -> starting -> ready -> stopping -> stopped
        any active status -> failed (positive evidence only); any active status -> stopping (a stop is
        valid everywhere); stopped, failed -> requested (a new attempt)
"""

from typing import Final

from msgspec.structs import replace

from state.errors import TransitionError
from state.records.models import Endpoint, JobRef, Reason, Server, Status, Target

NEXT: Final[dict[Status, frozenset[Status]]] = {
    Status.REQUESTED: frozenset(
        {Status.QUEUED, Status.STARTING, Status.READY, Status.STOPPING, Status.STOPPED, Status.FAILED}
    ),
    Status.QUEUED: frozenset({Status.STARTING, Status.READY, Status.STOPPING, Status.STOPPED, Status.FAILED}),
    # back to queued: the scheduler requeued the job (preemption, node failure)
    Status.STARTING: frozenset({Status.QUEUED, Status.READY, Status.STOPPING, Status.STOPPED, Status.FAILED}),
    Status.READY: frozenset({Status.QUEUED, Status.STARTING, Status.STOPPING, Status.STOPPED, Status.FAILED}),
    Status.STOPPING: frozenset({Status.STOPPED, Status.FAILED}),
    Status.STOPPED: frozenset({Status.REQUESTED}),
    Status.FAILED: frozenset({Status.REQUESTED}),
}

PROGRESS: Final[dict[Status, int]] = {
    Status.REQUESTED: 5,
    Status.QUEUED: 20,
    Status.STARTING: 60,
    Status.READY: 100,
    Status.STOPPING: 100,
    Status.STOPPED: 100,
    Status.FAILED: 100,
}


def advance(
    server: Server,
    status: Status,
    *,
    now: float,
    job: JobRef | None = None,
    endpoint: Endpoint | None = None,
    reason: Reason | None = None,
) -> Server:
    """Return the record after the transition to `status`. Pure. The same status again returns `server` unchanged.

    `job`, `endpoint` and `reason` are set if given. Raises TransitionError for a pair that is not in the table, and for
    READY without an endpoint.
    """
    if status is server.status:
        return server
    if status not in NEXT[server.status]:
        raise TransitionError(f"A server that is {server.status} cannot become {status}.")
    job = job or server.job
    if status is Status.READY:
        if endpoint is None:
            raise TransitionError("A server cannot be ready without an endpoint.")
        return replace(
            server,
            status=status,
            job=job,
            endpoint=endpoint,
            reason=reason,
            ready=now,
            running=server.running or now,
            stale=False,
            waiting=None,
        )
    if status is Status.STARTING:
        return replace(
            server,
            status=status,
            job=job,
            endpoint=None,
            reason=reason,
            running=now,
            ready=None,
            stale=False,
            waiting=None,
        )
    if status is Status.QUEUED:
        return replace(
            server,
            status=status,
            job=job,
            endpoint=None,
            reason=reason,
            running=None,
            ready=None,
            stale=False,
            deadline=None,
            node="",
            warned=0,
        )
    if status is Status.STOPPING:
        return replace(server, status=status, job=job, target=Target.STOPPED, reason=reason, waiting=None)
    if status is Status.REQUESTED:
        raise TransitionError("A new attempt is a new record: use `renew`.")
    return replace(
        server,
        status=status,
        job=job,
        target=Target.STOPPED,
        endpoint=None,
        credential="",
        report_hash="",
        reason=reason,
        ended=now,
        stale=False,
        waiting=None,
    )


def renew(server: Server, fresh: Server) -> Server:
    """Return the record of a new attempt after an ended one: `fresh` (status requested) with the revision of `server`.

    Raises TransitionError if `server` has not ended, or `fresh` is not a new attempt.
    """
    if server.active:
        raise TransitionError(f"A server that is {server.status} cannot be started again.")
    if fresh.status is not Status.REQUESTED or fresh.attempt == server.attempt:
        raise TransitionError("A new attempt must have the status requested and a new id.")
    return replace(fresh, revision=server.revision, fence=server.fence)
