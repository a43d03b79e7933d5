"""The process that uses pyslurm: `python -m batch.launchers.slurm.clients.pyslurm_helper`.

Owns the calls of pyslurm, one after the other; requests and responses are lines of JSON on standard input and output.
Does not know what they are for (`batch.launchers.slurm.clients.pyslurm`), servers and the hub.

It is a process of its own because pyslurm holds the GIL while it waits for slurmctld, and ends its process when it is
imported without a slurm.conf. What is printed to standard output meanwhile goes to the log instead.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TextIO

QUEUE: Final = (
    *("id", "user_name", "name", "comment", "state", "state_reason", "partition", "account", "qos", "priority"),
    *("submit_time", "start_time", "end_time", "exit_code", "exit_code_signal", "requeue_count", "batch_host"),
    *("memory", "num_nodes", "time_limit"),
)
PAST: Final = (
    *("id", "user_name", "name", "comment", "state", "state_reason", "cancelled_by", "exit_code", "exit_code_signal"),
    *("submit_time", "start_time", "end_time", "elapsed_time", "time_limit", "memory", "num_nodes", "nodelist"),
)


def submit(pyslurm: Any, request: Mapping[str, Any]) -> int:
    """Submit a job that is described by the arguments of `JobSubmitDescription`."""
    return int(pyslurm.JobSubmitDescription(**request["job"]).submit())


def read(job: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return these attributes of a job; None for one that it does not have, or whose text is not UTF-8."""
    found: dict[str, Any] = {}
    for name in names:
        try:
            found[name] = getattr(job, name, None)
        except ValueError:  # what users write into a job's name or comment may be anything
            found[name] = None
    return found


def jobs(pyslurm: Any, _: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return all jobs of slurmctld. The name of each account is looked up once, and not once for every job."""
    return [read(job, QUEUE) for job in pyslurm.Jobs.load().values()]


def past(pyslurm: Any, request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the jobs in accounting with these ids or names, or all jobs since a time."""
    filters = {name: request[name] for name in ("ids", "names", "start_time") if request.get(name)}
    found = []
    for job in pyslurm.db.Jobs.load(pyslurm.db.JobFilter(**filters)).values():
        row = read(job, PAST)
        used = [getattr(step.stats, "max_resident_memory", 0) or 0 for step in job.steps.values()]
        found.append({**row, "used": max(used, default=0)})
    return found


def cancel(pyslurm: Any, request: Mapping[str, Any]) -> None:
    """End a job (SIGTERM, and SIGKILL after Slurm's KillWait) if the id is still that of this name and account."""
    job = pyslurm.Job.load(request["job"])
    if (job.name, job.user_id) == (request["name"], request["user_id"]):
        job.cancel()


VERBS: Final[dict[str, Callable[[Any, Mapping[str, Any]], Any]]] = {
    "submit": submit,
    "jobs": jobs,
    "past": past,
    "cancel": cancel,
}


def answer(pyslurm: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the response to one request: the result, or pyslurm's error."""
    try:
        return {"id": request["id"], "found": VERBS[request["verb"]](pyslurm, request)}
    except pyslurm.PyslurmError as error:
        number = getattr(error, "errno", None)
        return {"id": request["id"], "number": number if isinstance(number, int) else None, "error": str(error)}
    except (ValueError, TypeError, AttributeError, KeyError) as error:  # pyslurm's own checks, or another version of it
        return {"id": request["id"], "number": None, "error": f"{type(error).__name__}: {error}"}


def serve(pyslurm: Any, requests: TextIO, answers: TextIO) -> None:
    """Answer requests until the hub has closed its end, or has ended."""
    for line in requests:
        answers.write(json.dumps(answer(pyslurm, json.loads(line))) + "\n")
        answers.flush()


def main() -> int:
    """Import pyslurm, report that, and serve."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        try:
            import pyslurm  # noqa: PLC0415 - it may take a minute, or end the process
        except ImportError as error:
            answers.write(json.dumps({"missing": str(error)}) + "\n")
            return 1
        answers.write(json.dumps({"ready": str(getattr(pyslurm, "__version__", ""))}) + "\n")
        answers.flush()
        serve(pyslurm, sys.stdin, answers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
