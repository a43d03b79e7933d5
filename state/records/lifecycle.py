"""The lifecycle of a server: one table, and the effect of each transition on the record.

Owns which status can follow which, and the facts that change with it (times, route, progress). Does not know who
requests a transition, what a scheduler is, or how a record is saved.

    requested -> queued -> starting -> ready -> stopping -> stopped
        any active status -> failed (positive evidence only); any active status -> stopping (a stop is
        valid everywhere); stopped, failed -> requested (a new attempt)
"""

from typing import Any, Final

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
    if status is Status.REQUESTED:
        raise TransitionError("A new attempt is a new record: use `renew`.")
    if status is Status.READY and endpoint is None:
        raise TransitionError("A server cannot be ready without an endpoint.")
    changes = _changes(server, status, now=now, endpoint=endpoint)
    return replace(server, status=status, job=job or server.job, reason=reason, **changes)


def _changes(server: Server, status: Status, *, now: float, endpoint: Endpoint | None) -> dict[str, Any]:
    """Return the fields that change with a transition to `status`, besides the status, the job and the reason."""
    match status:
        case Status.READY:
            running = server.running or now
            return {"endpoint": endpoint, "ready": now, "running": running, "stale": False, "waiting": None}
        case Status.STARTING:
            return {"endpoint": None, "running": now, "ready": None, "stale": False, "waiting": None}
        case Status.QUEUED:
            times = {"running": None, "ready": None, "deadline": None}
            return {"endpoint": None, "stale": False, "node": "", "warned": 0, **times}
        case Status.STOPPING:
            return {"target": Target.STOPPED, "waiting": None}
        case _:
            secrets = {"credential": "", "report_hash": ""}
            ended = {"target": Target.STOPPED, "ended": now, "stale": False, "waiting": None}
            return {"endpoint": None, **secrets, **ended}


def renew(server: Server, fresh: Server) -> Server:
    """Return the record of a new attempt after an ended one: `fresh` (status requested) with the revision of `server`.

    Raises TransitionError if `server` has not ended, or `fresh` is not a new attempt.
    """
    if server.active:
        raise TransitionError(f"A server that is {server.status} cannot be started again.")
    if fresh.status is not Status.REQUESTED or fresh.attempt == server.attempt:
        raise TransitionError("A new attempt must have the status requested and a new id.")
    return replace(fresh, revision=server.revision, fence=server.fence)
