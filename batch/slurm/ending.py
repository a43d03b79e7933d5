"""How a job ended: what Slurm knows of it, turned into a cause in plain words.

Owns: the words for each cause that Slurm can know: memory, walltime, a cancel and whose, a failed node, preemption, a job
that could not be started. Pure. Refuses to know how Slurm is asked, and the starter's word: `batch.reconcile` puts the
two together.

A plain exit code or signal is no cause that Slurm knows: `cause` is None for it, and `exit_code` tells.

Sources: sacct(1), JOB STATE CODES; 22.05 to 26.05. Seen on a real 22.05: the ExitCode is `0:125` after memory ran out
and `0:53` when the job could not be started; the reason JobLaunchFailure also stands where a script was ended by a
signal, so it alone proves nothing; a cancelled job's own line has `0:0`, whatever became of its script.
"""

import pwd
from collections.abc import Callable
from typing import Final, Protocol

from batch.slurm.reasons import REASONS
from state.records import Reason

WARNING: Final = 130.0
"""Seconds before the walltime's end at which a job that was warned may end by itself. sbatch(1): the signal may come up
to a minute earlier than asked for."""
OOM_SIGNAL, LAUNCH_SIGNAL = 125, 53
LAST_SIGNAL: Final = 64
NEARLY: Final = 0.8
"""Slurm samples a job's memory: what it saw of one that ran out may be far too little, and is told only from here on."""
KIB: Final = 1024

START_AGAIN: Final = "Start the server again."


class Ended(Protocol):
    """What Slurm knows of one ended job; None and `""`: not known. `batch.slurm.client.Past` has this shape."""

    @property
    def state(self) -> str:
        """Slurm's word, in capitals, without what follows (`CANCELLED`)."""

    @property
    def canceled_by(self) -> int | None:
        """The user id of whoever cancelled it."""

    @property
    def step_states(self) -> tuple[str, ...]:
        """The states of its steps: where a child ran out of memory, the job may go on, and end as it likes."""

    @property
    def reason(self) -> str:
        """Slurm's reason."""

    @property
    def exit_code(self) -> int | None:
        """The script's."""

    @property
    def signal(self) -> int:
        """What ended it, as Slurm numbers it; 0: none."""

    @property
    def started(self) -> float | None:
        """When it began (seconds since the epoch); None: never."""

    @property
    def ended(self) -> float | None:
        """When it ended."""

    @property
    def walltime(self) -> int | None:
        """What it asked for, in seconds."""

    @property
    def memory(self) -> int | None:
        """What it asked for, in bytes of one node."""

    @property
    def max_rss(self) -> int | None:
        """The most that was seen, in bytes."""

    @property
    def node(self) -> str:
        """Where it ran."""


def exit_code(ended: Ended) -> int | None:
    """As a shell would say it: a signal's number and 128; None where it is not the job's own, or not known."""
    if ended.signal:
        return 128 + ended.signal if ended.signal <= LAST_SIGNAL and ended.signal != LAUNCH_SIGNAL else None
    return ended.exit_code if ended.exit_code or ended.state == "COMPLETED" else None


def cause(ended: Ended, *, user: str = "", name_of: Callable[[int], str] | None = None) -> Reason | None:
    """The cause that Slurm knows; None: it knows none beyond the exit code. It has no log tail.

    `user`: whose job it is. `name_of`: a user id's name, `""` where there is none (default: this machine's accounts).
    """
    where = f"The node {ended.node}" if ended.node else "Its node"
    match ended.state:
        case "OUT_OF_MEMORY":
            return _out_of_memory(ended)
        case "TIMEOUT":
            return _walltime(ended)
        case "CANCELLED":
            return _cancelled(ended, user, name_of or account_name)
        case "NODE_FAIL":
            return Reason(
                code="node-failed",
                message=f"{where} failed while the job ran on it.",
                hint="Start the server again: it will get another node. What was not saved is lost.",
            )
        case "BOOT_FAIL":
            return Reason(code="node-failed", message=f"{where} could not be made ready for it.", hint=START_AGAIN)
        case "PREEMPTED":
            return Reason(
                code="preempted",
                message="It had to make room for a job that goes first.",
                hint="Start the server again, or pick a QOS or partition whose jobs are not pushed aside.",
            )
        case "DEADLINE":
            return Reason(code="deadline", message="It could not have ended before its deadline.", hint=START_AGAIN)
        case "REVOKED":
            return Reason(code="revoked", message="Another cluster has taken the job over.", hint=START_AGAIN)
        case _:
            return _otherwise(ended)


def _otherwise(ended: Ended) -> Reason | None:
    """COMPLETED, FAILED, and what a later Slurm may say."""
    if ended.signal == OOM_SIGNAL or (ended.state == "FAILED" and "OUT_OF_MEMORY" in ended.step_states):
        return _out_of_memory(ended)
    if ended.signal == LAUNCH_SIGNAL or (
        ended.reason == "JobLaunchFailure" and not ended.signal and not ended.exit_code
    ):
        where = f" on {ended.node}" if ended.node else ""
        return Reason(
            code="launch-failed",
            message=f"Slurm could not start the job{where}.",
            hint="Look whether your home folder is there on the nodes and has room, and tell the administrators.",
        )
    if ended.walltime and ended.started is not None and ended.ended is not None:
        left = ended.started + ended.walltime - ended.ended
        if left <= min(WARNING, ended.walltime / 2):
            return _walltime(ended)
    told = REASONS.get(ended.reason)
    if ended.state == "FAILED" and told is not None and ended.reason in {"BadConstraints", "SystemFailure"}:
        message = "No node fits what it asks for." if ended.reason == "BadConstraints" else "Something in Slurm failed."
        return Reason(code="refused", message=message, hint=told.hint.replace("Cancel it, and ask", "Ask"))
    return None


def _out_of_memory(ended: Ended) -> Reason:
    asked = f"the {size(ended.memory)} that it asked for" if ended.memory else ""
    if asked and ended.max_rss and ended.memory and ended.max_rss >= NEARLY * ended.memory:
        message = f"It ran out of memory: it used {size(ended.max_rss)} of {asked}."
    else:
        message = f"It ran out of memory: it needed more than {asked}." if asked else "It ran out of memory."
    return Reason(
        code="out-of-memory",
        message=message,
        hint="Ask for more memory, or work on less data at once. What was not saved is lost.",
        field="memory",
    )


def _walltime(ended: Ended) -> Reason:
    limit = f" of {duration(ended.walltime)}" if ended.walltime else ""
    return Reason(
        code="walltime",
        message=f"It reached its walltime{limit}.",
        hint="Start it again; ask for a longer walltime if you need one, and save your work before the end.",
        field="walltime",
    )


def _cancelled(ended: Ended, user: str, name_of: Callable[[int], str]) -> Reason:
    by = ended.canceled_by
    name = "" if by is None else name_of(by)
    while_ = "" if ended.node else " while it waited in the queue"
    if name and name == user:
        return Reason(code="cancelled", message=f"You cancelled the job outside the hub{while_}.", hint=START_AGAIN)
    if by == 0:
        return Reason(
            code="cancelled",
            message=f"An administrator cancelled the job{while_}.",
            hint="Ask the cluster's administrators why, or start the server again.",
        )
    if name:
        return Reason(
            code="cancelled",
            message=f"{name} cancelled the job{while_}.",
            hint=f"Ask {name} why, or start the server again.",
        )
    return Reason(code="cancelled", message=f"The job was cancelled outside the hub{while_}.", hint=START_AGAIN)


def account_name(uid: int) -> str:
    """The name of an account of this machine, `""`: none has this id."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def size(count: int) -> str:
    """Bytes for people: `100 MB`, `3.9 GB` (in steps of 1024, as Slurm counts)."""
    value, unit = float(count), "bytes"
    for name in ("KB", "MB", "GB", "TB"):
        if value < KIB:
            break
        value, unit = value / KIB, name
    return f"{value:.1f}".removesuffix(".0") + f" {unit}"


def duration(seconds: float) -> str:
    """Seconds for people, in the two largest units: `30 minutes`, `1 day 2 hours`."""
    left, parts = max(0, round(seconds)), []
    for name, length in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count} {name}" + ("s" if count > 1 else ""))
    return " ".join(parts[:2]) or "0 seconds"
