"""How a job ended: what Slurm knows about it, as a cause with a message.

Owns the facts of an ended job, and the message for each cause that Slurm can know: memory, the time limit, who
cancelled it, a failed node, preemption, a job that could not be started. Pure. Does not know how the facts are read
(`batch.launchers.slurm.clients`) and what the starter reports: `batch.controller.reconcile` combines the two.

A plain exit code or signal is no cause that Slurm knows: `cause` returns None for it, and `Ended.exit_code` has it.

Sources: sacct(1), JOB STATE CODES and the fields; 22.05 to 26.05. Observed with 22.05: the ExitCode is `0:125` after
memory ran out and `0:53` when the job could not be started; a script that a signal ended can also have the reason
JobLaunchFailure, so it proves nothing by itself; a cancelled job's own line has `0:0`, whatever its script returned.
"""

import pwd
from collections.abc import Callable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from batch.launchers.slurm.messages.amounts import duration, size
from batch.launchers.slurm.messages.reasons import REASONS
from state.records.models import Reason

OOM_SIGNAL, LAUNCH_SIGNAL = 125, 53
LAST_SIGNAL: Final = 64
NEARLY: Final = 0.8
"""Used memory is only shown from this share of the request on: Slurm samples it, and may have missed the peak by far.
"""

START_AGAIN: Final = "Start the server again."
ALWAYS: Final = {
    "NODE_FAIL": Reason(
        code="node-failed",
        message="{where} failed while the job was running on it.",
        hint="Start the server again. It will get another node. Unsaved work is lost.",
    ),
    "BOOT_FAIL": Reason(code="node-failed", message="{where} could not be prepared for the job.", hint=START_AGAIN),
    "PREEMPTED": Reason(
        code="preempted",
        message="The job was preempted by a job with a higher priority.",
        hint="Start the server again, or pick a QOS or partition whose jobs are not preempted.",
    ),
    "DEADLINE": Reason(code="deadline", message="The job could not have ended before its deadline.", hint=START_AGAIN),
    "REVOKED": Reason(code="revoked", message="Another cluster has taken over the job.", hint=START_AGAIN),
}
"""States that are a complete cause: {where} is the node."""


class Ended(Struct, frozen=True, kw_only=True):
    """What Slurm knows of one ended job; None and `""`: not known.

    `state`: in upper case, without its details (`CANCELLED`). `cancelled_by`: a user id or name. `signal`: Slurm's
    number of it. `reason`: Slurm's name of it. `used`, `requested`: the peak memory that was sampled and the requested
    memory, bytes per node. `elapsed`, `limit`: seconds. `nodes`: as Slurm writes them.
    """

    state: str
    cancelled_by: int | str | None = None
    code: int | None = None
    signal: int = 0
    reason: str = ""
    used: int | None = None
    requested: int | None = None
    elapsed: float | None = None
    limit: float | None = None
    nodes: str = ""

    @property
    def exit_code(self) -> int | None:
        """The exit code as a shell reports it: 128 plus a signal's number; None: not known, or not the job's own."""
        if self.signal:
            return 128 + self.signal if self.signal <= LAST_SIGNAL and self.signal != LAUNCH_SIGNAL else None
        return self.code if self.code or self.state == "COMPLETED" else None


# --- the messages


def cause(ended: Ended, *, user: str = "", name_of: Callable[[int], str] | None = None) -> Reason | None:
    """Return the cause that Slurm knows; None: no cause beyond the exit code. It has neither log tail nor exit code.

    `user`: the owner of the job. `name_of`: returns the name for a user id, `""` if there is none (default: this
    machine's accounts).
    """
    match ended.state:
        case "OUT_OF_MEMORY":
            return _out_of_memory(ended)
        case "TIMEOUT":
            return _walltime(ended)
        case "CANCELLED":
            return _cancelled(ended, user, name_of or account_name)
    if (always := ALWAYS.get(ended.state)) is not None:
        where = f"The node {ended.nodes}" if ended.nodes else "Its node"
        return replace(always, message=always.message.replace("{where}", where))
    return _otherwise(ended)


def _otherwise(ended: Ended) -> Reason | None:
    """Return the cause for COMPLETED, FAILED, and states of later versions of Slurm."""
    if ended.signal == OOM_SIGNAL:
        return _out_of_memory(ended)
    if ended.signal == LAUNCH_SIGNAL or (ended.reason == "JobLaunchFailure" and not ended.signal and not ended.code):
        where = f" on {ended.nodes}" if ended.nodes else ""
        return Reason(
            code="launch-failed",
            message=f"Slurm could not start the job{where}.",
            hint="Check that your home directory is available on the nodes and has space. Tell the cluster's admins.",
        )
    explanation = REASONS.get(ended.reason)
    if ended.state == "FAILED" and explanation is not None and ended.reason in {"BadConstraints", "SystemFailure"}:
        message = (
            "No node has what the job asks for." if ended.reason == "BadConstraints" else "Something in Slurm failed."
        )
        return Reason(
            code="refused", message=message, hint=explanation.hint.replace("Cancel it, and request", "Request")
        )
    return None


def _out_of_memory(ended: Ended) -> Reason:
    details = ""
    if ended.requested:
        used = bool(ended.used) and (ended.used or 0) >= NEARLY * ended.requested
        details = f" (asked for {size(ended.requested)}{f', used {size(ended.used or 0)}' if used else ''})"
    return Reason(
        code="out-of-memory",
        message=f"The job ran out of memory{details}.",
        hint="Start it again with more memory, or load less data at once. Unsaved work is lost.",
        field="memory",
    )


def _walltime(ended: Ended) -> Reason:
    limit = f" of {duration(ended.limit)}" if ended.limit else ""
    return Reason(
        code="walltime",
        message=f"The job reached its time limit{limit}.",
        hint="Start it again, with a longer time limit if you need one. Save your work before the end.",
        field="walltime",
    )


def _cancelled(ended: Ended, user: str, name_of: Callable[[int], str]) -> Reason:
    by = ended.cancelled_by
    name = name_of(by) if isinstance(by, int) else by or ""
    while_ = " while it was waiting in the queue" if ended.elapsed == 0 and not ended.nodes else ""
    if name and name == user:
        # Others read this, too: admins, and users with whom the server is shared.
        return Reason(code="cancelled", message=f"{name} cancelled the job outside the hub{while_}.", hint=START_AGAIN)
    if by in (0, "root"):
        return Reason(
            code="cancelled",
            message=f"An admin cancelled the job{while_}.",
            hint="Ask the cluster's admins why, or start the server again.",
        )
    if name:
        return Reason(
            code="cancelled",
            message=f"{name} cancelled the job{while_}.",
            hint=f"Ask {name} why, or start the server again.",
        )
    return Reason(code="cancelled", message=f"The job was cancelled outside the hub{while_}.", hint=START_AGAIN)


def account_name(uid: int) -> str:
    """Return the name of an account of this machine, `""`: no account has this id."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""
