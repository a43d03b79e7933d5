"""Slurm's names of job states, and what they mean for the hub: one table.

Owns the table, and the meaning of the numbers of an exit. Does not know where they come from.

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
    # --- flags: it is not known yet whether it ends or is tried again
    "LAUNCH_FAILED": JobState.ACTIVE,
    "RECONFIG_FAIL": JobState.ACTIVE,
    # --- flags: another cluster of the federation has it
    "REVOKED": JobState.CANCELED,
}

RUNS: Final = frozenset({"RUNNING", "RESIZING", "SIGNALING", "UPDATE_DB"})
"""States of a running job for which Slurm's time of the end is when it will be ended.

A job that is being sent a signal, such as the warning before its time limit, is shown as SIGNALING for a moment.
"""

SUSPENDED: Final = frozenset({"SUSPENDED", "STOPPED"})
"""States in which it has nodes, and its processes are stopped: by `scontrol suspend`, gang scheduling or SIGSTOP."""

FLAGS_FIRST: Final = tuple(STATES)[12:]
"""Flags that are shown in place of the state if Slurm returns a list."""


def job_state(state: str) -> JobState:
    """Return the meaning of a state. A state that is not in the table ends nothing: the job counts as running."""
    return STATES.get(state, JobState.ACTIVE)


def one_word(parts: list[str]) -> str:
    """Return what squeue would show for a list of newer REST: a state with its flags (`["RUNNING", "COMPLETING"]`)."""
    return next((part for part in parts if part in FLAGS_FIRST), parts[0] if parts else "")


def exit_text(text: str) -> tuple[int, int]:
    """Return exit code and signal from squeue's `exit_code`: a wait status in 22.05, later `3:0`."""
    code, colon, signal = text.partition(":")
    return (int(code or 0), int(signal or 0)) if colon else exit_of(int(text or 0))


def exit_of(status: int) -> tuple[int, int]:
    """Return exit code and signal of a wait status (wait(2)), which `exit_code` of slurmctld is."""
    return (status >> 8) & 0xFF, status & 0x7F
