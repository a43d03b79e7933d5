"""Facts about an ended job from sacct.

Owns the fields that are requested, and their parsing. Pure. Source: sacct(1), 22.05 to 26.05.
"""

import re
from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from batch.launchers.slurm.messages.amounts import KIB
from batch.launchers.slurm.messages.ending import Ended

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
UNITS: Final = {"K": KIB, "M": KIB**2, "G": KIB**3, "T": KIB**4, "P": KIB**5}
_STATE: Final = re.compile(r"([A-Z_]+)(?: by ([0-9]+))?\+?")
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)([KMGTP]?)[Bnc]?")


def from_sacct(text: str) -> dict[str, Ended]:
    """Return job id → facts for the jobs that sacct shows as ended. Leaves out lines that it does not understand.

    The used memory is in the lines of the steps (`7.batch`), everything else in the line of the job.
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
        requested=memory_of(row["AllocTRES"], nodes) or memory_of(row["ReqTRES"], nodes),
        elapsed=_number(row["ElapsedRaw"]),
        limit=None if limit is None else limit * 60.0,
        nodes="" if row["NodeList"] == "None assigned" else row["NodeList"],
    )


def tres(text: str) -> dict[str, str]:
    """Return `cpu=1,mem=100M,gres/gpu:a100=2` as a dictionary."""
    return dict(part.split("=", 1) for part in text.split(",") if "=" in part)


def memory_of(text: str, nodes: int | None) -> int | None:
    """Return the memory in such a text, in bytes on each of so many nodes (None: one); None: it names none."""
    memory = bytes_of(tres(text).get("mem", ""))
    return None if memory is None else memory // (nodes or 1)


def bytes_of(text: str) -> int | None:
    """Return a size as Slurm writes it (`212992`, `100M`, `1.5G`) in bytes; None: it is not a size."""
    found = _SIZE.fullmatch(text.strip())
    return None if found is None else int(float(found[1]) * UNITS.get(found[2], 1))


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None  # noqa: PLR2004 - 64 bits
