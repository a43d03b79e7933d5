"""What can be changed about a waiting job, so that it keeps its place in the queue.

Owns which options Slurm can change, and how scontrol and slurmrestd are called for it. Pure. Does not know whose job it
is, or whether it still waits.

Sources: scontrol(1), UPDATE COMMAND, and Slurm 22.05 to 26.05. An option that a job was submitted with cannot be
removed (22.05 keeps the GPUs of a job whose `TresPerNode` is emptied), and the number of nodes also sets the number of
tasks, which stays: both need a new job.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from batch.contract import Resources
from batch.launchers.slurm import grammar
from batch.launchers.slurm.clients.rest_shapes import OLD, megabytes, options_of
from batch.launchers.slurm.script import resource_options

Options = tuple[tuple[str, str], ...]
"""Options of sbatch by their long names, with their values."""
_WORD: Final = re.compile(r"[!-~]+")
"""A value that scontrol reads as one word of its standard input."""


def _same(key: str) -> Callable[[str], tuple[str, ...]]:
    return lambda value: (f"{key}={value}",)


CHANGEABLE: Final[dict[str, Callable[[str], tuple[str, ...]]]] = {
    "partition": _same("Partition"),
    "account": _same("Account"),
    "qos": _same("QOS"),
    "reservation": _same("ReservationName"),
    "constraint": _same("Features"),
    "time": _same("TimeLimit"),
    "mem": lambda value: (f"MinMemoryNode={megabytes(value)}",),
    "cpus-per-task": lambda value: (f"CPUsPerTask={value}", f"MinCPUsNode={value}", f"NumCPUs={value}"),
    "gres": _same("Gres"),
    "comment": _same("Comment"),
}
"""Option of sbatch → the arguments of scontrol's `update` that change it."""


def changes(before: Resources, after: Resources) -> Options | None:
    """Return the options that differ, with new values; None: some of them cannot be changed. Raises LauncherError."""
    old, new = dict(resource_options(before)), dict(resource_options(after))
    if old.keys() - new.keys() or before.more != after.more or "no-kill" in new:
        return None
    found = tuple((name, value) for name, value in new.items() if old.get(name) != value)
    for name, value in found:
        grammar.checked(name, value)
    return found if all(name in CHANGEABLE for name, _ in found) else None


def scontrol_line(name: str, uid: int, options: Iterable[tuple[str, str]]) -> str | None:
    """Return the line for scontrol's standard input; None: a value has a space in it, which scontrol cannot read.

    scontrol finds the job by its name and account, so that it cannot change another one.
    """
    arguments = ["update", f"JobName={name}", f"UserID={uid}"]
    for option, value in options:
        arguments += CHANGEABLE[option](value)
    return " ".join(arguments) + "\n" if all(_WORD.fullmatch(argument) for argument in arguments) else None


def rest_body(options: Iterable[tuple[str, str]], version: int) -> dict[str, Any]:
    """Return the body of slurmrestd's `POST /job/ID`. `version`: of the API."""
    body = options_of(options, version)
    if "cpus_per_task" in body:
        body["minimum_cpus_per_node"] = body["cpus_per_task"]
        if version > OLD:
            body["minimum_cpus"] = body["cpus_per_task"]
    return body
