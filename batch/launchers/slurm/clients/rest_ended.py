"""Facts about an ended job from slurmdbd's REST responses.

Owns their parsing, from 0.0.38 (22.05) to 0.0.45 (26.05). Pure.
"""

from collections.abc import Mapping
from typing import Any

from batch.launchers.slurm.clients.sacct import UNITS
from batch.launchers.slurm.messages.ending import Ended


def from_rest(job: Mapping[str, Any]) -> Ended | None:
    """Return the facts of a job in slurmdbd's response; None: it has not ended.

    `job`: an entry of `jobs` (`/slurmdb/vX/job/ID`, `/jobs`). Both the shapes of 0.0.38 (22.05) and those of 0.0.40 and
    later are read: a number may be `{"set": true, "number": 7}`, and a state may be a list.
    """
    state = _of(job, "state")
    states = _of(state, "current")
    state_name = str(states[0] if isinstance(states, list) and states else states or "").upper()
    if state_name in {"", "PENDING", "RUNNING", "SUSPENDED", "REQUEUED", "RESIZING", "COMPLETING"}:
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
    by = _of(job, "kill_request_user") if state_name == "CANCELLED" else None
    return Ended(
        state=state_name,
        cancelled_by=by if isinstance(by, (int, str)) and by != "" else None,
        code=number(_of(exit_, "return_code")),
        signal=signal or 0,
        reason="" if reason == "None" else reason,
        used=used,
        requested=None if memory is None else memory * UNITS["M"] // count,
        elapsed=number(_of(times, "elapsed")),
        limit=None if limit is None else limit * 60.0,
        nodes="" if nodes == "None assigned" else nodes,
    )


def _of(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def number(value: Any) -> int | None:
    """Return a number, which newer versions wrap: `7`, `{"set": true, "infinite": false, "number": 7}`."""
    if isinstance(value, dict):
        value = value.get("number") if value.get("set") and not value.get("infinite") else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _memory(entries: Any) -> int | None:
    for entry in entries if isinstance(entries, list) else ():
        if _of(entry, "type") == "mem":
            return number(_of(entry, "count"))
    return None
