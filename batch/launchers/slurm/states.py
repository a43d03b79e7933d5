"""Slurm's words for where a job stands, and what they are to us: one table.

Owns the table, and what the numbers of an exit mean. Does not know who says them.

Sources: squeue(1), JOB STATE CODES; `job_state_string` in Slurm 22.05 to 26.05, which shows a flag (COMPLETING) in
place of the state that it belongs to.
"""

from typing import Final

from batch.contract import JobState

STATES: Final[dict[str, JobState]] = {
    # --- states
    "PENDING": JobState.QUEUED,
    "RUNNING": JobState.ACTIVE,
    "SUSPENDED": JobState.ACTIVE,
    "COMPLETED": JobState.COMPLETED,
    "CANCELLED": JobState.CANCELED,
    "FAILED": JobState.FAILED,
    "TIMEOUT": JobState.FAILED,
    "NODE_FAIL": JobState.FAILED,
    "PREEMPTED": JobState.FAILED,
    "BOOT_FAIL": JobState.FAILED,
    "DEADLINE": JobState.FAILED,
    "OUT_OF_MEMORY": JobState.FAILED,
    # --- flags: it has nodes, but its script does not run yet
    "CONFIGURING": JobState.QUEUED,
    "POWER_UP_NODE": JobState.QUEUED,
    # --- flags: put back into the queue
    "REQUEUED": JobState.QUEUED,
    "REQUEUE_FED": JobState.QUEUED,
    "REQUEUE_HOLD": JobState.QUEUED,
    "SPECIAL_EXIT": JobState.QUEUED,
    "RESV_DEL_HOLD": JobState.QUEUED,
    "EXPEDITING": JobState.QUEUED,
    # --- flags: it runs, or its last processes do
    "COMPLETING": JobState.ACTIVE,
    "RESIZING": JobState.ACTIVE,
    "SIGNALING": JobState.ACTIVE,
    "STAGE_OUT": JobState.ACTIVE,
    "STOPPED": JobState.ACTIVE,
    "UPDATE_DB": JobState.ACTIVE,
    # --- flags: what follows is not known yet: an end or another try
    "LAUNCH_FAILED": JobState.ACTIVE,
    "RECONFIG_FAIL": JobState.ACTIVE,
    # --- flags: another cluster of the federation has it
    "REVOKED": JobState.CANCELED,
}

RUNS: Final = frozenset({"RUNNING", "RESIZING", "SIGNALING", "UPDATE_DB"})
"""It runs, and what Slurm says of the run's end is when it will be ended: a job that is being sent a signal, the
warning before its walltime ends say, is shown as SIGNALING for a moment."""

SUSPENDED: Final = frozenset({"SUSPENDED", "STOPPED"})
"""It has nodes, and its processes are stopped: by `scontrol suspend` or gang scheduling, or by SIGSTOP."""

FLAGS_FIRST: Final = tuple(STATES)[12:]
"""The flags, where Slurm gives a list: the one that is shown in place of the state."""


def job_state(state: str) -> JobState:
    """What the word means. One that is not in the table ends nothing: the job is thought to run."""
    return STATES.get(state, JobState.ACTIVE)


def one_word(parts: list[str]) -> str:
    """What squeue would show for a state with its flags (`["RUNNING", "COMPLETING"]`), as newer REST gives them."""
    return next((part for part in parts if part in FLAGS_FIRST), parts[0] if parts else "")


def exit_text(text: str) -> tuple[int, int]:
    """The same of squeue's `exit_code`: a wait status in 22.05, later `3:0`, the exit code and the signal."""
    code, colon, signal = text.partition(":")
    return (int(code or 0), int(signal or 0)) if colon else exit_of(int(text or 0))


def exit_of(status: int) -> tuple[int, int]:
    """Exit code and signal of a wait status (wait(2)), as `exit_code` of slurmctld is."""
    return (status >> 8) & 0xFF, status & 0x7F
