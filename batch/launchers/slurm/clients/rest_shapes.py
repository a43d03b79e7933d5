"""The JSON of slurmrestd: the description of a new job, and the jobs that it returns, in two generations.

Owns the names of properties. Pure. Does not know about HTTP, and whose a job is.

Up to 0.0.38 (Slurm 22.05) a job is described as on the command line, and an environment is an object; from 0.0.39 on it
is described as slurmctld stores it, the environment is a list, numbers are wrapped, and states are lists.

Sources: the OpenAPI pages of 0.0.38; `data_parser/v0.0.39` to `v0.0.45`.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from batch.contract import JobState, LauncherError
from batch.launchers.slurm.client import Job, Past
from batch.launchers.slurm.clients.rest_ended import from_rest, number
from batch.launchers.slurm.clients.sacct import memory_of
from batch.launchers.slurm.comment import attempt_of
from batch.launchers.slurm.script import Batch
from batch.launchers.slurm.states import exit_of, job_state, one_word

OLD: Final = 38
"""The last version of the first generation."""
NEW_GRES: Final = 40
"""From this version on (23.11), generic resources are written `gres/gpu`, not `gres:gpu`."""
LEAST, MOST = 38, 45
"""Versions that these shapes support."""
DAY, HOUR, MINUTE = 86400, 3600, 60

Put = Callable[[str], dict[str, Any]]
T = TypeVar("T")
log = logging.getLogger("towpath.slurm")


def _same(key: str) -> Put:
    return lambda value: {key: value}


def _whole(key: str) -> Put:
    return lambda value: {key: int(value)}


def _flag(key: str) -> Put:
    return lambda _: {key: True}


def _megabytes(key: str) -> Put:
    return lambda value: {key: megabytes(value)}


def _warning(value: str) -> dict[str, Any]:
    signal_name, _, seconds = value.removeprefix("B:").partition("@")
    return {
        "kill_warning_flags": ["BATCH_JOB"],
        "kill_warning_signal": signal_name,
        "kill_warning_delay": int(seconds),
    }


BOTH: Final[dict[str, Put]] = {
    "job-name": _same("name"),
    "comment": _same("comment"),
    "partition": _same("partition"),
    "account": _same("account"),
    "qos": _same("qos"),
    "reservation": _same("reservation"),
    "constraint": _same("constraints"),
    "cpus-per-task": _whole("cpus_per_task"),
    "mem": _megabytes("memory_per_node"),
    "mem-per-cpu": _megabytes("memory_per_cpu"),
    "time": lambda value: {"time_limit": minutes(value)},
    "dependency": _same("dependency"),
    "chdir": _same("current_working_directory"),
    "output": _same("standard_output"),
    "requeue": _flag("requeue"),
    "export": lambda _: {},
    "propagate": lambda _: {},
    "licenses": _same("licenses"),
    "nice": _whole("nice"),
    "ntasks": _whole("tasks"),
    "ntasks-per-node": _whole("tasks_per_node"),
    "prefer": _same("prefer"),
    "sockets-per-node": _whole("sockets_per_node"),
    "threads-per-core": _whole("threads_per_core"),
    "wckey": _same("wckey"),
    "mail-user": _same("mail_user"),
    "mcs-label": _same("mcs_label"),
    "mincpus": _whole("minimum_cpus_per_node"),
}
"""Options with the same name in both generations. `propagate`: slurmrestd passes no limits on."""

FIRST: Final[dict[str, Put]] = {
    **BOTH,
    "gres": _same("gres"),
    "nodes": lambda value: {"nodes": [int(value), int(value)]},
    "no-kill": lambda _: {"no_kill": "set"},
    # 22.05 cannot signal only the script ("Invalid SIGNAL specification"), and the job has no steps.
    "signal": lambda _: {},
    "exclusive": lambda value: {"exclusive": value or "true"},
    "oversubscribe": _flag("oversubscribe"),
    "mail-type": _same("mail_type"),
}

SECOND: Final[dict[str, Put]] = {
    **BOTH,
    "nodes": _same("nodes"),
    "no-kill": lambda _: {"kill_on_node_fail": False},
    "signal": _warning,
    "exclusive": lambda value: {"shared": [value or "none"]},
    "oversubscribe": lambda _: {"shared": ["oversubscribe"]},
    "exclude": lambda value: {"excluded_nodes": [value]},
    "nodelist": lambda value: {"required_nodes": [value]},
    "tmp": _megabytes("temporary_disk_per_node"),
    "contiguous": _flag("contiguous"),
    "mail-type": lambda value: {"mail_type": value.split(",")},
}


def described(batch: Batch, version: int) -> dict[str, Any]:
    """Return the body of a submit. Raises LauncherError for an option that this version has no property for."""
    job = options_of(batch.options, version)
    environment = batch.environment
    job["environment"] = environment if version <= OLD else [f"{name}={value}" for name, value in environment.items()]
    job.setdefault("current_working_directory", environment.get("HOME", "/"))
    # `job` has all options, so the script does not need the lines for sbatch, which the shell reads as comments.
    return {"script": batch.text, "job": job}


def options_of(options: Iterable[tuple[str, str]], version: int) -> dict[str, Any]:
    """Return options of sbatch as properties of a job. Raises LauncherError for one that has none."""
    table = FIRST if version <= OLD else SECOND
    job: dict[str, Any] = {}
    for name, value in options:
        if name == "gres" and version > OLD:
            sign = "/" if version >= NEW_GRES else ":"
            job["tres_per_node"] = ",".join(f"gres{sign}{one}" for one in value.split(","))
        elif name in table:
            job |= table[name](value)
        else:
            raise LauncherError(
                f"Slurm's REST service does not support the option --{name}.",
                transient=False,
                code="option",
                hint="Tell the hub's admins: the profile sets it in [profile.resources].",
            )
    return job


def megabytes(size: str) -> int:
    """Return `2048M` or `2G`, as sbatch reads them, in megabytes."""
    unit = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024 * 1024}.get(size[-1])
    return max(1, int(int(size) if unit is None else int(size[:-1]) * unit))


def minutes(walltime: str) -> int:
    """Return `D-HH:MM:SS` in minutes, rounded up."""
    days, _, clock = walltime.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    seconds = int(days or 0) * DAY + sum(part * unit for part, unit in zip(parts, (HOUR, MINUTE, 1), strict=False))
    return -(-seconds // MINUTE)


def jobs_of(answer: Mapping[str, Any]) -> list[Job]:
    """Return the jobs of `GET /slurm/vX/jobs`. Leaves out a job that it cannot parse.

    Raises ValueError if such a job may belong to the hub.
    """
    return _read(answer, _job)


def _read(answer: Mapping[str, Any], read: Callable[[Mapping[str, Any]], T]) -> list[T]:
    found = []
    for one in answer.get("jobs") or ():
        try:
            found.append(read(one))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            name = one.get("name") if isinstance(one, dict) else None
            if not isinstance(name, str) or attempt_of(name):
                raise ValueError("a job in Slurm's answer cannot be read") from error
            log.warning("Skipping another user's job that cannot be read: job=%r", str(one.get("job_id"))[:40])
    return found


def _job(job: Mapping[str, Any]) -> Job:
    state = job.get("job_state") or ""
    state_name = one_word(state) if isinstance(state, list) else str(state)
    waits = job_state(state_name) is JobState.QUEUED
    begins, ends = _time(job, "start_time"), _time(job, "end_time")
    code, signal = _exit(job.get("exit_code"))
    limit = number(job.get("time_limit"))
    return Job(
        id=int(job["job_id"]),
        user=_text(job, "user_name"),
        name=_text(job, "name"),
        comment=_text(job, "comment"),
        state=state_name,
        reason=_reason(job),
        partition=_text(job, "partition"),
        account=_text(job, "account"),
        qos=_text(job, "qos"),
        priority=number(job.get("priority")) or 0,
        submitted=_time(job, "submit_time"),
        started=None if waits else begins,
        expected=begins if waits else None,
        ends=None if waits else ends,
        exit_code=code,
        signal=signal,
        restarts=number(job.get("restart_cnt")) or 0,
        node=_text(job, "batch_host"),
        memory=memory_of(_text(job, "tres_alloc_str") or _text(job, "tres_req_str"), number(job.get("node_count"))),
        limit=None if limit is None else limit * 60.0,
    )


def _reason(job: Mapping[str, Any]) -> str:
    """Return the reason as squeue shows it: Slurm's explanation, if there is one, in place of the reason's name."""
    reason = _text(job, "state_description") or _text(job, "state_reason")
    return "" if reason == "None" else reason


def pasts_of(answer: Mapping[str, Any]) -> list[Past]:
    """Return the jobs of `GET /slurmdb/vX/jobs` or `/job/ID`."""
    return _read(answer, _past)


def _past(job: Mapping[str, Any]) -> Past:
    times = job.get("time") or {}
    comment = job.get("comment")
    facts = from_rest(job)
    current = (job.get("state") or {}).get("current") or ""
    return Past(
        id=int(job["job_id"]),
        user=_text(job, "user") or _text(job.get("association") or {}, "user"),
        name=_text(job, "name"),
        comment=_text(comment, "job") if isinstance(comment, dict) else "",
        state=one_word(current) if isinstance(current, list) else str(current),
        facts=facts,
        submitted=_time(times, "submission"),
        started=_time(times, "start"),
        ended=_time(times, "end"),
        node=facts.nodes.split(",")[0] if facts else "",
    )


def _exit(value: Any) -> tuple[int | None, int]:
    """Return exit code and signal.

    Before 0.0.40 the value is a wait status, then `{"return_code": {...}, "signal": {"id": {...}}}`.
    """
    if isinstance(value, dict) and "return_code" in value:
        signal = value.get("signal") or {}
        # It is not set for a job that ended by a signal.
        return number(value["return_code"]) or 0, number(signal.get("id")) or number(signal.get("signal_id")) or 0
    status = number(value)
    return (None, 0) if status is None else exit_of(status)


def _time(values: Mapping[str, Any], key: str) -> float | None:
    return float(found) if (found := number(values.get(key))) else None


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    return value if isinstance(value, str) else ""
