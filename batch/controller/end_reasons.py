"""Explains why a server ended, from the end of its job and the starter's last report, for every kind of cluster.

Owns which of the two takes precedence, and the messages where the scheduler knows no cause. Pure. Does not know
schedulers: the cause that one knows is in `JobView.ending`.

What the scheduler knows (memory, time limit, a cancellation, a failed node) explains what the starter saw (an app that
was killed), so it takes precedence. The starter has the tail of the log and the app's exit code.
"""

from typing import Final

from msgspec.structs import replace

from batch.contract import JobState, JobView, Report
from state.records.endings import CANCELLED, SEE_LOG, START_AGAIN, app_ended
from state.records.models import Reason, Server, Status
from state.records.readiness import end_reported

LATE_SECONDS: Final = 120.0
"""Seconds after an end in which a better reason replaces the first: accounting may be late."""

HINTS: Final = {
    "command": "The program is not installed where the job runs. Contact the hub's admins.",
    "exited": SEE_LOG,
    "no-answer": "It may need more time than the hub allows, or be stuck. The end of its log is below.",
    "folder": "The job's folder must belong to you and have free disk space.",
}
GUESSES: Final = frozenset(
    {"app-ended", "app-died", "app-exited", "start-failed", "exited", "job-ended", "cancelled", "lost"}
)
"""Codes of reasons without the scheduler's cause, which replaces them when it is known."""

TIME_LIMIT: Final = "walltime"
"""The code of an end at the time limit, for every kind of cluster."""

ITS_OWN: Final = range(1, 128)
"""Exit codes with which an app itself reports a failure.

A cancellation that is seen after such an exit is the hub's own cleanup. An app that is ended by a cancellation exits
with 0 or by a signal.
"""


def why(server: Server, view: JobView) -> tuple[Status, Reason]:
    """Return whether a server failed or stopped, and why, for a job that ended while its server should run."""
    report = _last_report(server, view)
    code = report.exit_code if report.exit_code is not None else view.exit_code
    if view.ending is not None:
        return status_of(view.ending), replace(view.ending, log_tail=report.log_tail, exit_code=code)
    if report.kind == "failed":
        reason_code = report.code or "start-failed"
        hint = report.hint or HINTS.get(reason_code, SEE_LOG)
        return Status.FAILED, Reason(
            code=reason_code, message=report.message, hint=hint, log_tail=report.log_tail, exit_code=code
        )
    if view.state is JobState.CANCELED:
        return Status.FAILED, replace(CANCELLED, log_tail=report.log_tail, exit_code=code)
    was_ready = server.status is Status.READY
    if not report.kind and view.reason and not (was_ready and code == 0):
        return Status.FAILED, Reason(code="job-ended", message=view.reason, hint=START_AGAIN, exit_code=code)
    return app_ended(was_ready=was_ready, exit_code=code, log_tail=report.log_tail)


def status_of(reason: Reason) -> Status:
    """Return whether a server with this reason failed: an end at the time limit is how every job may end."""
    return Status.STOPPED if reason.code == TIME_LIMIT else Status.FAILED


def _last_report(server: Server, view: JobView) -> Report:
    """Return the starter's last report, from the job's folder or as the gateway noted it."""
    if view.report is not None and view.report.kind != "ready":
        return view.report
    noted = server.reason
    if noted is not None and end_reported(server):
        return Report(kind="ended", attempt=server.attempt, exit_code=noted.exit_code, log_tail=noted.log_tail)
    return Report(kind="", attempt=server.attempt)


def better(server: Server, view: JobView | None, *, now: float) -> Reason | None:
    """Return a better reason for an ended server now that its job shows the cause, or None.

    An end that the hub caused, or that the starter explained, keeps its reason. The same cause may come again with
    details from accounting: who did it, how much was used.
    """
    if view is None or not view.state.final or view.ending is None or server.reason is None:
        return None
    if server.reason.code not in GUESSES and server.reason.code != view.ending.code:
        return None
    if server.ended is None or now - server.ended > LATE_SECONDS:
        return None
    if view.state is JobState.CANCELED and server.reason.exit_code in ITS_OWN:
        return None
    reason = replace(view.ending, log_tail=server.reason.log_tail, exit_code=server.reason.exit_code)
    return None if reason == server.reason else reason


def is_guess(reason: Reason) -> bool:
    """Return whether the scheduler's cause, if there is one, replaces this reason."""
    return reason.code in GUESSES
