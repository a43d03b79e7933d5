"""What to do about one server, given its record and what its cluster shows. Pure decisions.

Owns: the way from (record, job) to actions. Refuses to know Redis, launchers, tasks and time-outs of calls:
`batch.controller.leader` acts. `batch.controller.end_reasons` has the words for an end.

The rules: intent is written before anything is done. Only positive evidence ends a server: its job's final state, or
the starter's word. A cluster that does not answer makes it stale, and cancels nothing. Waiting in a queue has no
limit; the start window begins when the job runs.
"""

import math
from typing import Final, TypedDict

from msgspec import Struct
from msgspec.structs import replace

from batch.contract import JobState, JobView
from batch.controller.end_reasons import better, is_guess, why
from state.records.lifecycle import advance
from state.records.models import JobRef, Reason, Server, Status, Target, Waiting

WINDOW_MARGIN: Final = 15.0
"""Seconds over the start window that the starter has to say so itself, with the log's tail."""
STALE_SECONDS: Final = 10.0
LOST_SECONDS: Final = 5.0
CLOCKS_APART: Final = 5.0
"""So far apart may the clocks of gateway and controller be."""
"""For so long must finished polls have shown no job before it counts as lost."""
BY_ITSELF_SECONDS: Final = 10.0
"""For so long a job whose app has ended may end by itself, before it is cancelled."""
RESTART_MARGIN: Final = 30.0
"""A job that began so much later than its server was ready is another run of it: the polls missed the requeue."""
REQUEUED_BY: Final = "Its node failed, it had to make room for a job that goes first, or an administrator did it."
"""What may have requeued a job, where the scheduler does not say."""
MINUTE: Final = 60.0
WARN_MINUTES: Final = (15, 5)
"""Before the end of the walltime; only where it has been running for as long as that before."""


class Sight(Struct, frozen=True, kw_only=True):
    """What the cluster shows of one attempt.

    `fresh`: a poll that began after the last submit of this attempt has finished, so that `view` None means that
    there is no job. `absent_for`: seconds for which finished polls have not shown it. `down_for`: seconds for which
    polls have failed. `as_of`: when the poll that showed the view began (seconds since the epoch).
    """

    view: JobView | None = None
    fresh: bool = False
    absent_for: float = 0.0
    down_for: float = 0.0
    as_of: float = float("inf")


class Submit(Struct, frozen=True):
    """Write the secrets into the record, submit, save the job."""


class Cancel(Struct, frozen=True):
    """Ask for the end of an attempt's job."""

    cluster: str
    attempt: str
    job: JobRef | None = None


class Save(Struct, frozen=True):
    """Save the record, with an event where `message` says something."""

    server: Server
    message: str = ""


class PublishRoute(Struct, frozen=True):
    """Publish the route of a ready server."""

    server: Server


class DropRoute(Struct, frozen=True):
    """Take away the attempt's route, should there be one."""

    server: Server


class Settle(Struct, frozen=True):
    """Nothing is left to do: off the active list."""


class Remove(Struct, frozen=True):
    """Remove the record of a server whose removal was requested: its job is gone."""

    server: Server


class Adopt(Struct, frozen=True):
    """Save the record of a job that is running without one, and make sure of its user."""

    server: Server
    message: str


Action = Submit | Cancel | Save | PublishRoute | DropRoute | Settle | Remove | Adopt


def reconcile(server: Server, sight: Sight, *, now: float, window: float) -> list[Action]:
    """The next actions, in order; empty: nothing to do. `window`: the cluster's start window in seconds."""
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
    """A sentence where the cluster, or the job's host, does not answer; `""`: what is seen is so."""
    if _over(sight.view):
        return ""
    if sight.down_for >= STALE_SECONDS:
        return f"{server.cluster} does not answer."
    return sight.view.silent if sight.view is not None else ""


def _over(view: JobView | None) -> bool:
    """Whether the job has ended, by the scheduler's word or the starter's: that stays true, however old the view is."""
    return view is not None and (view.state.final or (view.report is not None and view.report.kind != "ready"))


def _unanswered(server: Server, why: str) -> list[Action]:
    """What was last seen of the job may not be so any more: nothing follows from it, and from time passing neither."""
    if not server.stale:
        return [Save(replace(server, stale=True), f"{why} Nothing is cancelled; waiting.")]
    return [Submit()] if server.status is Status.REQUESTED else []


def _is_past(server: Server, sight: Sight) -> bool:
    """Whether the job has said that it runs since it was seen in the queue: the next poll shows more."""
    view = sight.view
    if view is None or view.state is not JobState.QUEUED or view.restarts > server.restart:
        return False
    return server.running is not None and sight.as_of < server.running + CLOCKS_APART


def _gone(sight: Sight) -> bool:
    return sight.fresh if sight.view is None else sight.view.state.final


def _done(server: Server) -> list[Action]:
    """Nothing is left to do for the server; one whose removal was requested is removed."""
    return [Settle(), Remove(server)] if server.removing else [Settle()]


def _cancel(server: Server, job: JobRef | None = None) -> Cancel:
    return Cancel(server.cluster, server.attempt, job or server.job)


def _after_the_end(server: Server, sight: Sight, now: float) -> list[Action]:
    if _gone(sight):
        reason = better(server, sight.view, now=now)
        if reason is None or server.removing:
            return [DropRoute(server), *_done(server)]
        # No step of the lifecycle: it ended as it did, and now it is known how.
        return [DropRoute(server), Save(replace(server, status=Status.FAILED, reason=reason), reason.message), Settle()]
    if sight.view is None:  # not known yet
        return []
    if (
        server.ended is not None
        and now - server.ended < BY_ITSELF_SECONDS
        and server.reason
        and is_guess(server.reason)
    ):
        return [DropRoute(server)]  # it has said that it ends: a cancel would hide from the accounting why
    return [DropRoute(server), _cancel(server)]


def _stopping(server: Server, sight: Sight, now: float) -> list[Action]:
    if not _gone(sight):
        if server.status is Status.STOPPING:
            return [_cancel(server)]
        stopping = advance(server, Status.STOPPING, now=now)
        return [DropRoute(server), Save(stopping, "Stopping."), _cancel(server)]
    report = sight.view.report if sight.view else None
    reason = Reason(code="stopped", message="It was stopped.", exit_code=report.exit_code if report else None)
    stopped = advance(server, Status.STOPPED, now=now, reason=reason)
    actions: list[Action] = [DropRoute(server), Save(stopped, reason.message), *_done(server)]
    # The cancel makes sure of a submit that an earlier leader may still have on its way.
    return [_cancel(server), *actions] if sight.view is None else actions


def _without_a_job(server: Server, sight: Sight, now: float) -> list[Action]:
    if server.status is Status.REQUESTED:
        return [Submit()]
    if sight.fresh and sight.absent_for >= LOST_SECONDS:
        reason = Reason(
            code="lost",
            message=f"The job is not to be found on {server.cluster} any more.",
            hint="Somebody may have removed it. Start the server again.",
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
    mended = _mended(server, view, job)
    # A job that was requeued may still show the word of its last run: only one that runs is ready.
    endpoint = report.endpoint if report is not None and view.state is JobState.ACTIVE else None
    if endpoint is not None and server.status is not Status.READY:
        ready = advance(mended, Status.READY, now=now, job=job, endpoint=endpoint)
        return [Save(ready, "It answers."), PublishRoute(ready)]
    moved = _moved(server, mended, view, now)
    if moved is not None:
        return moved
    if server.status is Status.STARTING and now - (server.running or now) > window + WINDOW_MARGIN:
        return _too_slow(server, job, now, window)
    mended, message = _told(server, mended, now)
    return [Save(mended, message)] if mended != server else []


def _told(server: Server, mended: Server, now: float) -> tuple[Server, str]:
    """The record with what its user is told of now: why it waits, where that has changed, and that its end is near."""
    if mended.waiting is not None and _is_news(server.waiting, mended.waiting):
        return mended, mended.waiting.message
    if server.stale or mended.note != server.note:
        return mended, f"{server.cluster} answers again." if server.stale else mended.note
    if mended.status is not Status.READY or mended.deadline is None:
        return mended, ""
    left = mended.deadline - now
    reached = [minutes for minutes in WARN_MINUTES if left <= minutes * MINUTE]
    due = reached[-1] if reached else 0
    if due == mended.warned:
        return mended, ""
    told = replace(mended, warned=due)
    lasts = mended.deadline - (mended.running or mended.requested)
    if due == 0 or 0 < mended.warned < due or lasts < 2 * due * MINUTE or left <= 0:
        return told, ""
    minutes = max(1, round(left / MINUTE))
    return told, f"Its walltime ends in {minutes} minute{'s' if minutes > 1 else ''}: save your work."


def _is_news(before: Waiting | None, now: Waiting) -> bool:
    """Whether the sentence is another one. That the scheduler has not looked yet (no code, `None`) is none to tell."""
    return now.code not in ("", "None") and (before is None or before.message != now.message)


def _moved(server: Server, mended: Server, view: JobView, now: float) -> list[Action] | None:
    """The step that the scheduler has made with the job; None: none."""
    if view.state is JobState.QUEUED and server.status is not Status.QUEUED:
        queued = advance(mended, Status.QUEUED, now=now)
        if server.status is Status.REQUESTED:
            words = f" {mended.waiting.message}" if mended.waiting and _is_news(None, mended.waiting) else ""
            return [Save(queued, f"Waiting in the queue of {server.cluster}.{words}")]
        because = view.ending.message if view.ending else REQUEUED_BY
        return [DropRoute(server), Save(queued, f"The scheduler has put the job back into the queue. {because}")]
    if view.state is not JobState.ACTIVE:
        return None
    if server.status in (Status.REQUESTED, Status.QUEUED):
        return [Save(advance(mended, Status.STARTING, now=now), "The job runs; waiting until the app answers.")]
    if server.status is Status.READY and _begun_anew(server, view):
        starting = advance(mended, Status.STARTING, now=now)
        return [DropRoute(server), Save(starting, "The scheduler has started the job anew.")]
    return None


def _begun_anew(server: Server, view: JobView) -> bool:
    if view.restarts > server.restart:
        return True
    if server.ready is None or view.started is None:
        return False
    return view.started > server.ready + RESTART_MARGIN


def _too_slow(server: Server, job: JobRef | None, now: float, window: float) -> list[Action]:
    reason = Reason(
        code="no-answer",
        message=f"The app did not answer within {window:.0f} seconds.",
        hint="It may need longer than the hub waits, or it may be stuck.",
    )
    return [Save(advance(server, Status.FAILED, now=now, reason=reason), reason.message), _cancel(server, job)]


def _mended(server: Server, view: JobView, job: JobRef | None) -> Server:
    """The record with what the job knows better: its id, its deadline, and the secrets that it really has.

    The secrets differ when a leader wrote new ones for a submit that an earlier one had already done. A run that the
    scheduler has given up may live on, on a node that it cannot reach: its word counts no more.
    """
    restart = max(server.restart, view.restarts)
    note = view.note or server.note
    mended = replace(server, job=job, stale=False, restart=restart, note=note, **_place(server, view))
    record = view.record
    if record is not None and record.attempt == server.attempt and record.report_hash:
        secrets = {name: getattr(record, name) for name in ("report_hash", "credential", "token_hash")}
        mended = replace(mended, **secrets)
    return mended


class _Place(TypedDict):
    deadline: float | None
    node: str
    waiting: Waiting | None


def _place(server: Server, view: JobView) -> _Place:
    """Where the job is: in the queue, with why; or on a node, until when."""
    if view.state is JobState.QUEUED:
        return {"deadline": None, "node": "", "waiting": _waiting(server.waiting, view.waiting)}
    return {"deadline": view.deadline or server.deadline, "node": view.node or server.node, "waiting": None}


def _waiting(before: Waiting | None, now: Waiting | None) -> Waiting | None:
    """What is to be saved: the old one where nothing that matters has changed, down to the minute of the start."""
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
    """What to do about a job that is not the current attempt of its server's record. `server` None: no record.

    It is cancelled only when the record says that its attempt is over, because a newer one is there, or when it did
    so before it was removed (`over`): a scheduler shows a job for a while after its app has ended. Where the record
    was lost, or is older than the job, the job is adopted.
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
    words = "Found again: the job is running, and the hub had lost its record."
    if view.report is not None and view.report.endpoint is not None:
        ready = advance(base, Status.READY, now=now, job=job, endpoint=view.report.endpoint)
        return [Adopt(ready, words), PublishRoute(ready)]
    status = Status.STARTING if view.state is JobState.ACTIVE else Status.QUEUED
    return [Adopt(advance(base, status, now=now, job=job), words)]
