"""Why a server ended, in plain words: from its job's end and the starter's last word, for every kind of cluster.

Owns: which of the two is believed, and the words where the scheduler knows no cause. Pure. Refuses to know any
scheduler: the cause that one knows comes in `JobView.ending`.

What the scheduler knows (memory, walltime, a cancel, a failed node) explains what the starter saw (an app that was
killed), so it goes first; the starter has the log's tail and the app's own exit code.
"""

import signal
from typing import Final

from msgspec.structs import replace

from batch.contract import JobState, JobView, Report
from state.records.models import Reason, Server, Status

LATE_SECONDS: Final = 120.0
"""For so long after an end a better reason is taken: accounting may be late, and the starter's word comes first."""
SEE_LOG: Final = "The end of its log is below. Start it again, or change what you asked for."
KILLED: Final = "It was killed, most often because memory ran out. The end of its log is below."

HINTS: Final = {
    "command": "The program is not installed where the job runs. Tell the hub's administrator.",
    "exited": SEE_LOG,
    "no-answer": "It may need longer than the hub waits, or it may be stuck. The end of its log is below.",
    "folder": "The job's folder must belong to you, with room on its disk.",
}
TOLD: Final = "told"
"""The code of what the gateway notes when a starter ends because the scheduler said so; what for is not known yet."""
GUESSES: Final = frozenset(
    {"app-ended", "app-died", "app-exited", "start-failed", "exited", "job-ended", "cancelled", "lost"}
)
"""Codes of reasons that were given without the scheduler's own, and give way to it."""

ITS_OWN: Final = range(1, 128)
"""Exit codes by which an app says itself that it failed. A cancel that is seen afterwards is the hub's own, which
cleans up behind it; one that came first ends an app with 0 or by a signal."""


def why(server: Server, view: JobView) -> tuple[Status, Reason]:
    """Stopped or failed, and why, for a job that has ended while its server was to be ready."""
    report = _last_word(server, view)
    code = report.exit_code if report.exit_code is not None else view.exit_code
    if view.ending is not None:
        return Status.FAILED, replace(view.ending, log_tail=report.log_tail, exit_code=code)
    if report.kind == "failed":
        word = report.code or "start-failed"
        hint = report.hint or HINTS.get(word, SEE_LOG)
        return Status.FAILED, Reason(
            code=word, message=report.message, hint=hint, log_tail=report.log_tail, exit_code=code
        )
    if view.state is JobState.CANCELED:
        return Status.FAILED, Reason(
            code="cancelled",
            message="The job was cancelled outside the hub.",
            hint="Start the server again.",
            log_tail=report.log_tail,
            exit_code=code,
        )
    was_ready = server.status is Status.READY
    if was_ready and code == 0:
        return Status.STOPPED, Reason(code="app-ended", message="The app ended by itself.", exit_code=0)
    if not report.kind and view.reason:
        return Status.FAILED, Reason(
            code="job-ended", message=view.reason, hint="Start the server again.", exit_code=code
        )
    what = "The app ended unexpectedly" if was_ready else "The app ended before it was ready"
    return Status.FAILED, Reason(
        code="app-died" if was_ready else "app-exited",
        message=f"{what}{how(code)}.",
        hint=KILLED if signal_of(code) == signal.SIGKILL else SEE_LOG,
        log_tail=report.log_tail,
        exit_code=code,
    )


def _last_word(server: Server, view: JobView) -> Report:
    """What the starter said last: where the launcher sees it, or as the gateway noted it when the end was asked for."""
    if view.report is not None and view.report.kind != "ready":
        return view.report
    noted = server.reason
    if noted is not None and told(server):
        return Report(kind="ended", attempt=server.attempt, exit_code=noted.exit_code, log_tail=noted.log_tail)
    return Report(kind="", attempt=server.attempt)


def told(server: Server) -> bool:
    """Whether its app has ended because the scheduler said so, while the job's end is still to be seen."""
    return server.reason is not None and server.reason.code == TOLD


def better(server: Server, view: JobView | None, *, now: float) -> Reason | None:
    """The reason that an ended server should have, now that its job shows the cause; None: it has it, or it is late.

    An end that the hub itself has brought about, or that the starter could explain, keeps its reason. The same cause
    may come again with what the accounting adds: who did it, how much was used.
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
    """Whether the reason gives way to the scheduler's own, should that know one."""
    return reason.code in GUESSES


def how(code: int | None) -> str:
    """An exit code in brackets, with the signal's name where it was one: ` (exit code 139: SIGSEGV)`."""
    if code is None:
        return ""
    number = signal_of(code)
    if number is None:
        return f" (exit code {code})"
    return f" (ended by {number.name})" if code < 0 else f" (exit code {code}: {number.name})"


def signal_of(code: int | None) -> signal.Signals | None:
    """The signal that an exit code stands for: -9 and 137 are SIGKILL; None: it stands for none."""
    if code is None:
        return None
    try:
        return signal.Signals(-code if code < 0 else code - 128)
    except ValueError:
        return None
