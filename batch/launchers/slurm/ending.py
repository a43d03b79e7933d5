"""How a job ended: what Slurm knows of it, turned into a cause in plain words.

Owns: the facts of an ended job, how sacct and slurmdbd's REST tell them, and the words for each cause that Slurm can
know: memory, walltime, a cancel and whose, a failed node, preemption, a job that could not be started. Pure. Refuses to
know how Slurm is asked, and the starter's word: `batch.controller.reconcile` puts the two together.

A plain exit code or signal is no cause that Slurm knows: `cause` is None for it, and `Ended.exit_code` tells.

Sources: sacct(1), JOB STATE CODES and the fields; 22.05 to 26.05. Seen on a real 22.05: the ExitCode is `0:125` after
memory ran out and `0:53` when the job could not be started; the reason JobLaunchFailure also stands where a script was
ended by a signal, so it alone proves nothing; a cancelled job's own line has `0:0`, whatever its script did.
"""

import pwd
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from batch.launchers.slurm.reasons import REASONS
from state.records.models import Reason

FIELDS: Final = (
    "JobIDRaw",
    "State",
    "ExitCode",
    "Reason",
    "AllocTRES",
    "ReqTRES",
    "MaxRSS",
    "ElapsedRaw",
    "TimelimitRaw",
    "NodeList",
    "NNodes",
)
OOM_SIGNAL, LAUNCH_SIGNAL = 125, 53
LAST_SIGNAL: Final = 64
NEARLY: Final = 0.8
"""Slurm samples a job's memory: of one that ran out it may have seen far too little, and less than this is not told."""
KIB: Final = 1024
UNITS: Final = {"K": KIB, "M": KIB**2, "G": KIB**3, "T": KIB**4, "P": KIB**5}
_STATE: Final = re.compile(r"([A-Z_]+)(?: by ([0-9]+))?\+?")
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)([KMGTP]?)[Bnc]?")

START_AGAIN: Final = "Start the server again."
ALWAYS: Final = {
    "NODE_FAIL": Reason(
        code="node-failed",
        message="{where} failed while the job ran on it.",
        hint="Start the server again: it will get another node. What was not saved is lost.",
    ),
    "BOOT_FAIL": Reason(code="node-failed", message="{where} could not be made ready for it.", hint=START_AGAIN),
    "PREEMPTED": Reason(
        code="preempted",
        message="It had to make room for a job that goes first.",
        hint="Start the server again, or pick a QOS or partition whose jobs are not pushed aside.",
    ),
    "DEADLINE": Reason(code="deadline", message="It could not have ended before its deadline.", hint=START_AGAIN),
    "REVOKED": Reason(code="revoked", message="Another cluster has taken the job over.", hint=START_AGAIN),
}
"""States that say all: {where} is the node."""


class Ended(Struct, frozen=True, kw_only=True):
    """What Slurm knows of one ended job; None and `""`: not known.

    `state`: its word, in capitals, without what follows (`CANCELLED`). `cancelled_by`: a user id or name. `signal`: as
    Slurm numbers it. `reason`: its word. `used`, `asked`: the most memory seen and what was asked for,
    bytes per node. `elapsed`, `limit`: seconds. `nodes`: as Slurm writes them.
    """

    state: str
    cancelled_by: int | str | None = None
    code: int | None = None
    signal: int = 0
    reason: str = ""
    used: int | None = None
    asked: int | None = None
    elapsed: float | None = None
    limit: float | None = None
    nodes: str = ""

    @property
    def exit_code(self) -> int | None:
        """As a shell would say it: a signal's number and 128; None where it is not the job's own, or not known."""
        if self.signal:
            return 128 + self.signal if self.signal <= LAST_SIGNAL and self.signal != LAUNCH_SIGNAL else None
        return self.code if self.code or self.state == "COMPLETED" else None


# --- the words


def cause(ended: Ended, *, user: str = "", name_of: Callable[[int], str] | None = None) -> Reason | None:
    """The cause that Slurm knows; None: it knows none beyond the exit code. It has neither log tail nor exit code.

    `user`: whose job it is. `name_of`: a user id's name, `""` where there is none (default: this machine's accounts).
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
    """COMPLETED, FAILED, and what a later Slurm may say."""
    if ended.signal == OOM_SIGNAL:
        return _out_of_memory(ended)
    if ended.signal == LAUNCH_SIGNAL or (ended.reason == "JobLaunchFailure" and not ended.signal and not ended.code):
        where = f" on {ended.nodes}" if ended.nodes else ""
        return Reason(
            code="launch-failed",
            message=f"Slurm could not start the job{where}.",
            hint="Look whether your home folder is there on the nodes and has room, and tell the administrators.",
        )
    told = REASONS.get(ended.reason)
    if ended.state == "FAILED" and told is not None and ended.reason in {"BadConstraints", "SystemFailure"}:
        message = "No node fits what it asks for." if ended.reason == "BadConstraints" else "Something in Slurm failed."
        return Reason(code="refused", message=message, hint=told.hint.replace("Cancel it, and ask", "Ask"))
    return None


def _out_of_memory(ended: Ended) -> Reason:
    asked = f"the {size(ended.asked)} that it asked for" if ended.asked else ""
    if asked and ended.used and ended.asked and ended.used >= NEARLY * ended.asked:
        message = f"It ran out of memory: it used {size(ended.used)} of {asked}."
    else:
        message = f"It ran out of memory: it needed more than {asked}." if asked else "It ran out of memory."
    return Reason(
        code="out-of-memory",
        message=message,
        hint="Ask for more memory, or work on less data at once. What was not saved is lost.",
        field="memory",
    )


def _walltime(ended: Ended) -> Reason:
    limit = f" of {duration(ended.limit)}" if ended.limit else ""
    return Reason(
        code="walltime",
        message=f"It reached its walltime{limit}.",
        hint="Start it again; ask for a longer walltime if you need one, and save your work before the end.",
        field="walltime",
    )


def _cancelled(ended: Ended, user: str, name_of: Callable[[int], str]) -> Reason:
    by = ended.cancelled_by
    name = name_of(by) if isinstance(by, int) else by or ""
    while_ = " while it waited in the queue" if ended.elapsed == 0 and not ended.nodes else ""
    if name and name == user:
        return Reason(code="cancelled", message=f"You cancelled the job outside the hub{while_}.", hint=START_AGAIN)
    if by in (0, "root"):
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


# --- what sacct says


def sacct_arguments(jobs: Iterable[str]) -> tuple[str, ...]:
    """The arguments of sacct that `from_sacct` reads the answer to; all jobs in one call."""
    return ("--noheader", "--parsable2", "--noconvert", f"--format={','.join(FIELDS)}", f"--jobs={','.join(jobs)}")


def from_sacct(text: str) -> dict[str, Ended]:
    """Job id → facts, of the jobs that sacct shows as ended. Lines that are not understood are left out.

    The memory that was used stands in the lines of the steps (`7.batch`), all else in the job's own.
    """
    jobs: dict[str, Ended] = {}
    used: dict[str, int] = {}
    for line in text.splitlines():
        values = line.split("|")
        if len(values) != len(FIELDS):
            continue
        row = dict(zip(FIELDS, values, strict=True))
        job, _, step = row["JobIDRaw"].partition(".")
        if not step:
            if (ended := _job_of(row)) is not None:
                jobs[job] = ended
        elif (seen := bytes_of(row["MaxRSS"])) is not None:
            used[job] = max(seen, used.get(job, 0))
    return {job: replace(ended, used=used.get(job)) for job, ended in jobs.items()}


def _job_of(row: Mapping[str, str]) -> Ended | None:
    found = _STATE.fullmatch(row["State"].strip())
    if found is None or found[1] in {"PENDING", "RUNNING", "SUSPENDED", "REQUEUED", "RESIZING", "COMPLETING"}:
        return None
    code, _, signal = row["ExitCode"].partition(":")
    nodes = _number(row["NNodes"])
    limit = _number(row["TimelimitRaw"])
    return Ended(
        state=found[1],
        cancelled_by=None if found[2] is None else int(found[2]),
        code=_number(code),
        signal=_number(signal) or 0,
        reason="" if row["Reason"] == "None" else row["Reason"],
        asked=memory_of(row["AllocTRES"], nodes) or memory_of(row["ReqTRES"], nodes),
        elapsed=_number(row["ElapsedRaw"]),
        limit=None if limit is None else limit * 60.0,
        nodes="" if row["NodeList"] == "None assigned" else row["NodeList"],
    )


def tres(text: str) -> dict[str, str]:
    """`cpu=1,mem=100M,gres/gpu:a100=2` as a dictionary."""
    return dict(part.split("=", 1) for part in text.split(",") if "=" in part)


def memory_of(text: str, nodes: int | None) -> int | None:
    """The memory in such a text, in bytes on each of so many nodes (None: one); None: it names none."""
    memory = bytes_of(tres(text).get("mem", ""))
    return None if memory is None else memory // (nodes or 1)


def bytes_of(text: str) -> int | None:
    """A size as Slurm writes it (`212992`, `100M`, `1.5G`); None: it is none."""
    found = _SIZE.fullmatch(text.strip())
    return None if found is None else int(float(found[1]) * UNITS.get(found[2], 1))


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None  # noqa: PLR2004 - 64 bits


# --- what slurmrestd says


def from_rest(job: Mapping[str, Any]) -> Ended | None:
    """Facts of one entry of `jobs` in slurmdbd's answer (`/slurmdb/vX/job/ID`, `/jobs`); None: it has not ended.

    The shapes of 0.0.38 (22.05) and of 0.0.40 and later are both read: a number may be `{"set": true, "number": 7}`,
    a state a list.
    """
    state = _of(job, "state")
    words = _of(state, "current")
    word = str(words[0] if isinstance(words, list) and words else words or "").upper()
    if word in {"", "PENDING", "RUNNING", "SUSPENDED", "REQUEUED", "RESIZING", "COMPLETING"}:
        return None
    times, exit_ = _of(job, "time"), _of(job, "exit_code")
    reason = str(_of(state, "reason") or "")
    signal = number(_of(_of(exit_, "signal"), "id")) or number(_of(_of(exit_, "signal"), "signal_id"))
    memory = _memory(_of(_of(job, "tres"), "allocated")) or _memory(_of(_of(job, "tres"), "requested"))
    nodes = str(_of(job, "nodes") or "")
    count = number(_of(job, "allocation_nodes")) or 1
    limit = number(_of(times, "limit"))
    seen = [_memory(_of(_of(_of(step, "tres"), "requested"), "max")) for step in _of(job, "steps") or ()]
    used = max((value for value in seen if value), default=None)
    by = _of(job, "kill_request_user") if word == "CANCELLED" else None
    return Ended(
        state=word,
        cancelled_by=by if isinstance(by, (int, str)) and by != "" else None,
        code=number(_of(exit_, "return_code")),
        signal=signal or 0,
        reason="" if reason == "None" else reason,
        used=used,
        asked=None if memory is None else memory * UNITS["M"] // count,
        elapsed=number(_of(times, "elapsed")),
        limit=None if limit is None else limit * 60.0,
        nodes="" if nodes == "None assigned" else nodes,
    )


def _of(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def number(value: Any) -> int | None:
    """A number of slurmrestd's, which newer versions wrap: `7`, `{"set": true, "infinite": false, "number": 7}`."""
    if isinstance(value, dict):
        value = value.get("number") if value.get("set") and not value.get("infinite") else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _memory(entries: Any) -> int | None:
    for entry in entries if isinstance(entries, list) else ():
        if _of(entry, "type") == "mem":
            return number(_of(entry, "count"))
    return None
