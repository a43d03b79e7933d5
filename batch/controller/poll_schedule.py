"""Decides when a cluster is polled next: what each server waits for, and how soon a change must be seen.

Owns the stages, and the table of gaps between polls. Pure: times are arguments. Does not know how a poll is done, or
what follows from one.

A job itself reports that it runs, that its app is ready and that it ends. It cannot report why it waits, or a sudden
end. So a poll is due soon after a submit, less often while nothing changes, and immediately if a job has reported an
end whose cause only the scheduler knows (docs/decisions/0009).
"""

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Final

from msgspec import Struct

from batch.contract import JobState, JobView
from batch.controller.reconcile import Sight
from state.records.models import Server, Status, Target
from state.records.readiness import end_reported


class Stage(Enum):
    """What a server waits for."""

    SUBMITTED = "no poll has shown it yet, and it has not reported"
    WAITING = "it is in the queue: why, where, until when"
    STARTING = "it runs, its app is not ready yet"
    ENDLESS = "its app is ready; its deadline is not known yet"
    RUNNING = "its app is ready, and everything is known"
    CAUSE = "it has reported its end, and the cause is not known"
    ENDING = "its end was requested"
    DOUBT = "the scheduler shows less than before, or has not recorded the end yet"


GAPS: Final[Mapping[Stage, tuple[float, ...]]] = {
    Stage.WAITING: (5, 10, 20),
    Stage.STARTING: (5, 10, 20),
    Stage.ENDLESS: (2, 20, 60),
    Stage.RUNNING: (60,),
    Stage.CAUSE: (0, 1, 2, 5, 10),
    Stage.ENDING: (2, 2, 5, 10),
    Stage.DOUBT: (1, 1, 2, 2, 5, 5, 20),
}
"""Ticks before the first poll in a stage, then between polls. The last value repeats."""
HERE: Final[Mapping[Stage, tuple[float, ...]]] = {
    **dict.fromkeys(Stage, (1,)),
    Stage.CAUSE: (0, 1),
    Stage.RUNNING: (5,),
}
"""The same for a cluster where a poll costs next to nothing (`LauncherKind.cheap_polls`)."""
FIRST: Final = 2.0
"""Ticks after the last submit at which the jobs are polled that have not reported."""
FIRST_AT_LATEST: Final = 5.0
"""The same after the first of several submits, so that a stream of submits does not delay it."""
IDLE: Final = 120.0
"""Ticks between two polls if there are no jobs."""
AT_ONCE: Final = 0.1
"""Seconds in which several reports cause one poll only."""


class PollRequest(Struct, frozen=True, kw_only=True):
    """What one server waits for. `since`: when it entered this stage; `looks`: polls since then."""

    attempt: str
    stage: Stage
    since: float
    looks: int = 0


def stage_of(server: Server | None, sight: Sight) -> Stage | None:
    """Return what a server waits for, or None. `server` None: a job without a record."""
    view = sight.view
    if view is not None and view.unsure:
        return Stage.DOUBT
    if server is None:
        return None if view is None else _in_queue(view)
    if not server.active or server.target is Target.STOPPED or server.status is Status.STOPPING or end_reported(server):
        return _at_its_end(server, sight)
    if view is None and sight.fresh and server.status is not Status.REQUESTED:
        return Stage.DOUBT
    return _alive(server, view)


def _at_its_end(server: Server, sight: Sight) -> Stage | None:
    if sight.fresh if sight.view is None else sight.view.state.final:
        return None
    return Stage.ENDING if server.target is Target.STOPPED and (server.active or _was_stopped(server)) else Stage.CAUSE


def _alive(server: Server, view: JobView | None) -> Stage | None:
    if server.status is Status.READY:
        runs = view is not None and view.state is JobState.ACTIVE
        return Stage.RUNNING if runs or server.deadline is not None else Stage.ENDLESS
    if server.status is Status.STARTING:
        return Stage.STARTING
    if view is not None:
        return _in_queue(view)
    return None if server.status is Status.REQUESTED else Stage.SUBMITTED  # the submit is still to come


def _was_stopped(server: Server) -> bool:
    """Return whether an ended server was stopped by request, so that no cause is needed."""
    return server.status is Status.STOPPED and server.reason is not None and server.reason.code == "stopped"


def _in_queue(view: JobView) -> Stage | None:
    if view.state.final:
        return None
    return Stage.RUNNING if view.state is JobState.ACTIVE else Stage.WAITING


def next_look(
    requests: Iterable[PollRequest], *, last: float, tick: float, gaps: Mapping[Stage, tuple[float, ...]] = GAPS
) -> float:
    """Return when the next poll is due. `last`: when the last one began; `tick`: seconds of a tick."""
    due = [last + IDLE * tick]
    submitted = []
    for request in requests:
        steps = gaps.get(request.stage)
        if steps is None:
            submitted.append(request.since)
            continue
        gap = steps[min(request.looks, len(steps) - 1)] * tick
        due.append(max(request.since + (gap or AT_ONCE), last + gap))
    if submitted:
        due.append(min(max(submitted) + FIRST * tick, min(submitted) + FIRST_AT_LATEST * tick))
    return min(due)
