"""Decides what to do about one server, given its record and what its cluster shows. Pure.

Owns the mapping from (record, job) to actions. Does not know Redis, launchers, tasks or timeouts:
`batch.controller.leader` acts. `batch.controller.end_reasons` has the messages for an end.

The rules: the intent is written before anything is done. Only positive evidence ends a server: the final state of its
job, or the starter's report. A cluster that does not answer makes it stale, and cancels nothing. Waiting in a queue has
no limit; the start window begins when the job runs.
"""

import math
from typing import Final, TypedDict

from msgspec import Struct
from msgspec.structs import replace

from batch.contract import JobState, JobView
from batch.controller.end_reasons import better, is_guess, status_of, why
from state.plugins.hooks import ENDED, READY
from state.records.lifecycle import advance
from state.records.models import JobRef, Reason, Server, Status, Target, Waiting

WINDOW_MARGIN: Final = 15.0
"""Seconds after the start window in which the starter can report the timeout itself, with the tail of the log."""
STALE_SECONDS: Final = 10.0
LOST_SECONDS: Final = 5.0
CLOCKS_APART: Final = 5.0
"""How far apart the clocks of gateway and controller may be, in seconds."""
"""For so long must finished polls have shown no job before it counts as lost."""
BY_ITSELF_SECONDS: Final = 10.0
"""Seconds that a job has to end after its app has ended, before it is cancelled."""
RESTART_MARGIN: Final = 30.0
"""A job that started this much later than its server became ready is a new run: the polls missed the requeue."""
REQUEUED_BY: Final = "Its node failed, it was preempted by another job, or an admin requeued it."
"""Possible causes of a requeue, if the scheduler does not say."""
MINUTE: Final = 60.0
WARN_MINUTES: Final = (15, 5)
"""Minutes before the time limit at which users are warned, if the server has been running for that long."""


class Sight(Struct, frozen=True, kw_only=True):
    """What the cluster shows of one attempt.

    `fresh`: a poll that began after the last submit of this attempt has finished, so that `view` None means that there
    is no job. `absent_for`: seconds for which finished polls have not shown it. `down_for`: seconds for which polls
    have failed. `as_of`: when the poll that showed the view began (seconds since the epoch).
    """

    view: JobView | None = None
    fresh: bool = False
    absent_for: float = 0.0
    down_for: float = 0.0
    as_of: float = float("inf")


class Submit(Struct, frozen=True):
    """Write the secrets into the record, submit, and save the job."""


class Edit(Struct, frozen=True):
    """Change what the waiting job asks for to the record's `edited`, or replace the job."""


class Cancel(Struct, frozen=True):
    """Request the end of an attempt's job."""

    cluster: str
    attempt: str
    job: JobRef | None = None


class Save(Struct, frozen=True):
    """Save the record, with an event if there is a message."""

    server: Server
    message: str = ""


class PublishRoute(Struct, frozen=True):
    """Publish the route of a ready server."""

    server: Server


class DropRoute(Struct, frozen=True):
    """Remove the attempt's route, if there is one."""

    server: Server


class Settle(Struct, frozen=True):
    """Nothing is left to do: take the server off the active list."""


class Remove(Struct, frozen=True):
    """Remove the record of a server whose removal was requested and whose job is gone."""

    server: Server


class RunHooks(Struct, frozen=True):
    """Run the site's hooks of an event, and note that. What follows waits for their end."""

    event: str


class Adopt(Struct, frozen=True):
    """Save the record of a running job that has none, and make sure that its user exists."""

    server: Server
    message: str


Action = Submit | Edit | Cancel | Save | PublishRoute | DropRoute | Settle | Remove | RunHooks | Adopt


def reconcile(server: Server, sight: Sight, *, now: float, window: float) -> list[Action]:
    """Return the next actions, in order. `window`: the cluster's start window in seconds."""
    return _with_hooks(server, _next(server, sight, now, window))


def _with_hooks(server: Server, actions: list[Action]) -> list[Action]:
    """Add the run of hooks that is due.

    The hooks of an end run when the job is gone, also if the app never answered: what was made for it is cleaned up.
    """
    if server.hooked not in {"begun", READY}:
        return actions
    if server.hooked != READY and server.status is Status.READY and not actions:
        return [RunHooks(READY)]
    settle = next((at for at, action in enumerate(actions) if isinstance(action, Settle)), None)
    return actions if settle is None else [*actions[:settle], RunHooks(ENDED), *actions[settle:]]


def _next(server: Server, sight: Sight, now: float, window: float) -> list[Action]:
    if not server.active:
        return _after_the_end(server, sight, now)
    if server.target is Target.STOPPED or server.status is Status.STOPPING:
        return _stopping(server, sight, now)
    if silence := _silence(server, sight):
        return _unanswered(server, silence)
    if sight.view is None:
        return _without_a_job(server, sight, now)
    if _is_past(server, sight):
        return []
    return _with_a_job(server, sight.view, now, window)


def _silence(server: Server, sight: Sight) -> str:
    """Return a message if the cluster or the job's host does not answer, else `""`."""
    if _over(sight.view):
        return ""
    if sight.down_for >= STALE_SECONDS:
        return f"{server.cluster} does not answer."
    return sight.view.silent if sight.view is not None else ""


def _over(view: JobView | None) -> bool:
    """Return whether the job has ended, from the scheduler or the starter. That stays true however old the view is."""
    return view is not None and (view.state.final or (view.report is not None and view.report.kind != "ready"))


def _unanswered(server: Server, why: str) -> list[Action]:
    """Mark a server as stale.

    What was last seen may be outdated, so nothing else follows, also not from time passing.
    """
    if not server.stale:
        return [Save(replace(server, stale=True), f"{why} Nothing is cancelled. Waiting.")]
    return [Submit()] if server.status is Status.REQUESTED else []


def _is_past(server: Server, sight: Sight) -> bool:
    """Return whether the job has reported that it runs since it was seen in the queue: the next poll will show more."""
    view = sight.view
    if view is None or view.state is not JobState.QUEUED or view.restarts > server.restart:
        return False
    return server.running is not None and sight.as_of < server.running + CLOCKS_APART


def _gone(sight: Sight) -> bool:
    return sight.fresh if sight.view is None else sight.view.state.final


def _done(server: Server) -> list[Action]:
    """Return the actions for a server with nothing left to do. It is removed if that was requested."""
    return [Settle(), Remove(server)] if server.removing else [Settle()]


def _cancel(server: Server, job: JobRef | None = None) -> Cancel:
    return Cancel(server.cluster, server.attempt, job or server.job)


def _after_the_end(server: Server, sight: Sight, now: float) -> list[Action]:
    if _gone(sight):
        reason = better(server, sight.view, now=now)
        if reason is None or server.removing:
            return [DropRoute(server), *_done(server)]
        # Not a transition: the status stays, and only the reason changes.
        return [
            DropRoute(server),
            Save(replace(server, status=status_of(reason), reason=reason), reason.message),
            Settle(),
        ]
    if sight.view is None:  # not known yet
        return []
    if (
        server.ended is not None
        and now - server.ended < BY_ITSELF_SECONDS
        and server.reason
        and is_guess(server.reason)
    ):
        return [DropRoute(server)]  # it is ending: a cancel would hide the cause from accounting
    return [DropRoute(server), _cancel(server)]


def _stopping(server: Server, sight: Sight, now: float) -> list[Action]:
    if not _gone(sight):
        if server.status is Status.STOPPING:
            return [_cancel(server)]
        stopping = advance(server, Status.STOPPING, now=now)
        return [DropRoute(server), Save(stopping, "Stopping."), _cancel(server)]
    report = sight.view.report if sight.view else None
    reason = Reason(code="stopped", message="The server was stopped.", exit_code=report.exit_code if report else None)
    stopped = advance(server, Status.STOPPED, now=now, reason=reason)
    actions: list[Action] = [DropRoute(server), Save(stopped, reason.message), *_done(server)]
    # The cancel covers a submit that an earlier leader may still have in progress.
    return [_cancel(server), *actions] if sight.view is None else actions


def _without_a_job(server: Server, sight: Sight, now: float) -> list[Action]:
    if server.status is Status.REQUESTED:
        if server.edited is not None and not server.report_hash:  # nothing was submitted yet
            return [Save(replace(server, choices=server.edited, edited=None), "The request was changed.")]
        return [Submit()]
    if sight.fresh and sight.absent_for >= LOST_SECONDS:
        reason = Reason(
            code="lost",
            message=f"The job does not exist on {server.cluster} any more.",
            hint="It may have been removed outside the hub. Start the server again.",
        )
        return [
            DropRoute(server),
            Save(advance(server, Status.FAILED, now=now, reason=reason), reason.message),
            Settle(),
        ]
    return []


def _with_a_job(server: Server, view: JobView, now: float, window: float) -> list[Action]:
    job = JobRef(cluster=server.cluster, native_id=view.native_id) if view.native_id else server.job
    report = view.report
    if _over(view):
        return _ended(server, view, job, now)
    if view.state is JobState.NEW:
        return [Submit()] if server.status is Status.REQUESTED else []
    updated = _updated(server, view, job)
    # A requeued job may still show the report of its last run: only a running one can be ready.
    endpoint = report.endpoint if report is not None and view.state is JobState.ACTIVE else None
    if endpoint is not None and server.status is not Status.READY:
        ready = advance(updated, Status.READY, now=now, job=job, endpoint=endpoint)
        return [Save(ready, "The server is ready."), PublishRoute(ready)]
    transition = _edit(server, view) or _transition(server, updated, view, now) or _suspension(server, updated, now)
    if transition is not None:
        return transition
    too_long = now - (server.running or now) > window + WINDOW_MARGIN
    if server.status is Status.STARTING and too_long and not server.suspended:
        return _too_slow(server, job, now, window)
    updated, message = _with_message(server, updated, now)
    return [Save(updated, message)] if updated != server else []


def _edit(server: Server, view: JobView) -> list[Action] | None:
    """Return what follows from a change of the request; None: nothing, or the next poll shows more."""
    if server.edited is None:
        return None
    if view.state is not JobState.QUEUED:
        return [Save(replace(server, edited=None), "The job started before its request could be changed.")]
    return [Edit()] if server.status in (Status.REQUESTED, Status.QUEUED) else None


def _with_message(server: Server, updated: Server, now: float) -> tuple[Server, str]:
    """Return the record and a message for the user: why the job waits, if that changed, and that its end is near."""
    if updated.waiting is not None and _is_news(server.waiting, updated.waiting):
        return updated, updated.waiting.message
    if server.stale or updated.note != server.note:
        return updated, f"{server.cluster} answers again." if server.stale else updated.note
    if updated.status is not Status.READY or updated.deadline is None or updated.suspended:
        return updated, ""
    left = updated.deadline - now
    reached = [minutes for minutes in WARN_MINUTES if left <= minutes * MINUTE]
    due = reached[-1] if reached else 0
    if due == updated.warned:
        return updated, ""
    warned = replace(updated, warned=due)
    lasts = updated.deadline - (updated.running or updated.requested)
    if due == 0 or 0 < updated.warned < due or lasts < 2 * due * MINUTE or left <= 0:
        return warned, ""
    minutes = max(1, round(left / MINUTE))
    return warned, f"The time limit is reached in {minutes} minute{'s' if minutes > 1 else ''}. Save your work."


def _is_news(before: Waiting | None, now: Waiting) -> bool:
    """Return whether the message has changed. That the scheduler has not looked yet (no code, `None`) is not news."""
    return now.code not in ("", "None") and (before is None or before.message != now.message)


def _transition(server: Server, updated: Server, view: JobView, now: float) -> list[Action] | None:
    """Return the actions for a transition that the scheduler has made with the job, or None."""
    if view.state is JobState.QUEUED and server.status is not Status.QUEUED:
        queued = advance(updated, Status.QUEUED, now=now)
        if server.status is Status.REQUESTED:
            waits = f" {updated.waiting.message}" if updated.waiting and _is_news(None, updated.waiting) else ""
            return [Save(queued, f"Waiting in the queue of {server.cluster}.{waits}")]
        return [DropRoute(server), Save(queued, _why_queued_again(server, view))]
    if view.state is not JobState.ACTIVE:
        return None
    if server.status in (Status.REQUESTED, Status.QUEUED):
        return [
            Save(advance(updated, Status.STARTING, now=now), "The job is running. Waiting for the app to be ready.")
        ]
    if server.status is Status.READY and _restarted(server, view):
        starting = advance(updated, Status.STARTING, now=now)
        return [DropRoute(server), Save(starting, "The scheduler has restarted the job.")]
    return None


def _why_queued_again(server: Server, view: JobView) -> str:
    """Return the message for a job that waits again: it mentions a requeue only if the scheduler reports one."""
    if view.ending is not None:
        return f"The scheduler has requeued the job. {view.ending.message}"
    if view.restarts > server.restart:
        return f"The scheduler has requeued the job. {REQUEUED_BY}"
    return "The scheduler shows the job as waiting again."


def _restarted(server: Server, view: JobView) -> bool:
    if view.restarts > server.restart:
        return True
    if server.ready is None or view.started is None:
        return False
    return view.started > server.ready + RESTART_MARGIN


def _suspension(server: Server, updated: Server, now: float) -> list[Action] | None:
    """Return the actions for a job that was suspended or resumed, or None. When it is resumed, it may take its time."""
    if updated.suspended == server.suspended:
        return None
    if updated.suspended:
        return [
            Save(updated, f"{updated.cluster} has suspended the job. The app does not respond until it is resumed.")
        ]
    if updated.status is Status.STARTING:
        updated = replace(updated, running=now)
    return [Save(updated, f"{updated.cluster} has resumed the job.")]


def _too_slow(server: Server, job: JobRef | None, now: float, window: float) -> list[Action]:
    reason = Reason(
        code="no-answer",
        message=f"The app was not ready within {window:.0f} seconds.",
        hint="It may need more time than the hub allows, or be stuck.",
    )
    return [Save(advance(server, Status.FAILED, now=now, reason=reason), reason.message), _cancel(server, job)]


def _updated(server: Server, view: JobView, job: JobRef | None) -> Server:
    """Return the record with what the job knows better: its id, its deadline, and the secrets that it has.

    The secrets differ if a leader wrote new ones for a submit that an earlier leader had completed. A run that the
    scheduler has given up may continue on a node that it cannot reach; its reports no longer count.
    """
    restart = max(server.restart, view.restarts)
    note = view.note or server.note
    suspended = view.suspended and view.state is JobState.ACTIVE
    updated = replace(
        server, job=job, stale=False, restart=restart, note=note, suspended=suspended, **_place(server, view)
    )
    record = view.record
    if record is not None and record.attempt == server.attempt and record.report_hash:
        secrets = {name: getattr(record, name) for name in ("report_hash", "credential", "token_hash", "hub_app")}
        updated = replace(updated, **secrets)
    return updated


class _Place(TypedDict):
    deadline: float | None
    node: str
    waiting: Waiting | None


def _place(server: Server, view: JobView) -> _Place:
    """Return where the job is: in the queue, with the reason; or on a node, until when."""
    if view.state is JobState.QUEUED:
        return {"deadline": None, "node": "", "waiting": _waiting(server.waiting, view.waiting)}
    return {"deadline": view.deadline or server.deadline, "node": view.node or server.node, "waiting": None}


def _waiting(before: Waiting | None, now: Waiting | None) -> Waiting | None:
    """Return what to save: the old reason if nothing relevant has changed, down to the minute of the expected start."""
    if now is None:
        return None
    if now.start is not None:
        now = replace(now, start=math.ceil(now.start / MINUTE) * MINUTE)
    same = before is not None and replace(before, of=now.of) == now
    return before if same else now


def _ended(server: Server, view: JobView, job: JobRef | None, now: float) -> list[Action]:
    status, reason = why(server, view)
    ended = advance(server, status, now=now, job=job, reason=reason)
    actions: list[Action] = [DropRoute(server), Save(ended, reason.message)]
    return [*actions, Settle()] if view.state.final else actions


def orphan(view: JobView, server: Server | None, *, cluster: str, now: float, over: bool = False) -> list[Action]:
    """Return the actions for a job that is not the current attempt of its server's record. `server` None: no record.

    It is cancelled only if the record says that its attempt has ended because there is a newer one, or said so before
    it was removed (`over`): a scheduler shows a job for a while after its app has ended. If the record was lost, or is
    older than the job, the job is adopted.
    """
    if view.state.final or (server is not None and server.attempt == view.attempt):
        return []
    record = view.record
    begun = record.requested if record is not None else view.started
    if over or (server is not None and begun is not None and begun < server.requested):
        return [Cancel(cluster, view.attempt, JobRef(cluster=cluster, native_id=view.native_id))]
    if server is not None and (server.active or begun is None or begun == server.requested):
        return []
    if record is None or view.state is JobState.NEW or (view.report is not None and view.report.kind != "ready"):
        return []
    base = replace(
        record,
        cluster=cluster,
        target=Target.READY,
        revision=server.revision if server else 0,
        fence=server.fence if server else 0,
        restart=view.restarts,
        **_place(record, view),
    )
    job = JobRef(cluster=cluster, native_id=view.native_id)
    message = "Recovered: the job is running, and the hub had lost its record."
    if view.report is not None and view.report.endpoint is not None:
        ready = advance(base, Status.READY, now=now, job=job, endpoint=view.report.endpoint)
        return [Adopt(ready, message), PublishRoute(ready)]
    status = Status.STARTING if view.state is JobState.ACTIVE else Status.QUEUED
    return [Adopt(advance(base, status, now=now, job=job), message)]
