"""When a cluster is to be looked at next: what each server's job is waited for, and how soon it is to be seen.

Owns: the stages, and the table of gaps between looks. Pure: times are arguments. Refuses to know how a look is made,
and what follows from one.

A job tells by itself that it runs, that its app answers, that it ends. What it cannot tell is why it waits, and an end
without a word. So a look is due soon after a submit, ever later while nothing changes, and at once where a job has
told of an end whose cause only the scheduler knows (docs/decisions/0009).
"""

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Final

from msgspec import Struct

from batch.contract import JobState, JobView
from batch.controller.end_reasons import told
from batch.controller.reconcile import Sight
from state.records.models import Server, Status, Target


class Stage(Enum):
    """What is waited for."""

    SUBMITTED = "no look has shown it yet, and it has not spoken"
    WAITING = "it is in the queue: why, where, until when"
    STARTING = "it runs, its app does not answer yet"
    ENDLESS = "its app answers; when it will be ended is not known yet"
    RUNNING = "its app answers, and all is known"
    CAUSE = "it has told of its end, and why is not known"
    ENDING = "its end was asked for"
    DOUBT = "the scheduler shows less than it did, or has yet to write down how it ended"


GAPS: Final[Mapping[Stage, tuple[float, ...]]] = {
    Stage.WAITING: (5, 10, 20),
    Stage.STARTING: (5, 10, 20),
    Stage.ENDLESS: (2, 20, 60),
    Stage.RUNNING: (60,),
    Stage.CAUSE: (0, 1, 2, 5, 10),
    Stage.ENDING: (2, 2, 5, 10),
    Stage.DOUBT: (1, 1, 2, 2, 5, 5, 20),
}
"""Ticks before the first look at that stage, between the first and the second, ...; the last is for all that follow."""
HERE: Final[Mapping[Stage, tuple[float, ...]]] = {
    **dict.fromkeys(Stage, (1,)),
    Stage.CAUSE: (0, 1),
    Stage.RUNNING: (5,),
}
"""The same for a cluster of kind `local`: a look costs a read of /proc, and no scheduler's time."""
FIRST: Final = 2.0
"""So many ticks after the last submit the jobs of all that have not spoken yet are looked at."""
FIRST_AT_LATEST: Final = 5.0
"""And so many after the first of them, should there be more and more."""
IDLE: Final = 120.0
"""Ticks between two looks where there is no job to look for."""
AT_ONCE: Final = 0.1
"""Words that come within so many seconds of each other are one reason to look."""


class Wish(Struct, frozen=True, kw_only=True):
    """What is wished for one server. `since`: when it came to this stage; `looks`: how many there were since."""

    attempt: str
    stage: Stage
    since: float
    looks: int = 0


def stage_of(server: Server | None, sight: Sight) -> Stage | None:
    """What a server's job is waited for; None: nothing. `server` None: a job without a record."""
    view = sight.view
    if view is not None and view.unsure:
        return Stage.DOUBT
    if server is None:
        return None if view is None else _in_queue(view)
    if not server.active or server.target is Target.STOPPED or server.status is Status.STOPPING or told(server):
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
    return None if server.status is Status.REQUESTED else Stage.SUBMITTED  # requested: the submit is still to come


def _was_stopped(server: Server) -> bool:
    """Whether a server that has ended did so because somebody asked: that needs no cause."""
    return server.status is Status.STOPPED and server.reason is not None and server.reason.code == "stopped"


def _in_queue(view: JobView) -> Stage | None:
    if view.state.final:
        return None
    return Stage.RUNNING if view.state is JobState.ACTIVE else Stage.WAITING


def next_look(
    wishes: Iterable[Wish], *, last: float, tick: float, gaps: Mapping[Stage, tuple[float, ...]] = GAPS
) -> float:
    """When the next look is due. `last`: when the last one began; `tick`: seconds of a tick."""
    due = [last + IDLE * tick]
    submitted = []
    for wish in wishes:
        steps = gaps.get(wish.stage)
        if steps is None:
            submitted.append(wish.since)
            continue
        gap = steps[min(wish.looks, len(steps) - 1)] * tick
        due.append(max(wish.since + (gap or AT_ONCE), last + gap))
    if submitted:
        due.append(min(max(submitted) + FIRST * tick, min(submitted) + FIRST_AT_LATEST * tick))
    return min(due)
