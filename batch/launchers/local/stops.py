"""Ending a job: a mark in its folder, a signal to the starter, and SIGKILL after the grace."""

import errno
import os
import signal
import time
from pathlib import Path
from typing import Final

from batch.launchers.local.folder import JobFolder, Processes, is_alive

KILL_MARGIN: Final = 5.0
"""Seconds after the grace in which the starter should have killed the app itself."""
PIDFD_SIGNAL_PROCESS_GROUP: Final = 4
"""A flag of pidfd_send_signal(2), since Linux 6.9."""
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Stops:
    """The requested stops. This object only remembers what cannot be written to a full disk."""

    def __init__(self) -> None:
        self._first: dict[str, float] = {}  # attempt → when its stop was first requested, if it could not be marked

    def forget(self, attempt: str) -> None:
        """Forget the attempt: its folder was removed."""
        self._first.pop(attempt, None)

    def stop(self, folder: JobFolder, boot: str) -> None:
        """Request the end of the job; kill it if that was requested long enough ago. Raises OSError."""
        seconds_ago = self._mark(folder)
        processes, spec = folder.processes(), folder.spec()
        if processes is None or spec is None or processes.boot != boot:
            return
        if seconds_ago > spec.grace + KILL_MARGIN:
            kill(processes)
            return
        signal_due = seconds_ago == 0.0 or seconds_ago > spec.grace / 2
        if signal_due and not send(processes.pid, processes.start, signal.SIGTERM):
            send(processes.app, processes.app_start, signal.SIGTERM, group=True)

    def _mark(self, folder: JobFolder) -> float:
        """Mark the job as cancelled. Return how many seconds ago it was first marked; 0: only now."""
        mark = folder.path / "canceled"
        try:
            os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        except FileExistsError:
            return time.time() - mark.stat().st_mtime
        except OSError as error:  # no mark fits on a full disk, and the job can be ended all the same
            if error.errno not in FULL:
                raise
            first = self._first.get(folder.attempt)
            self._first.setdefault(folder.attempt, time.time())
            return 0.0 if first is None else time.time() - first
        return 0.0


def kill(processes: Processes) -> None:
    """Kill the app's process group, the starter, and every process with the attempt in its environment."""
    send(processes.app, processes.app_start, signal.SIGKILL, group=True)
    send(processes.pid, processes.start, signal.SIGKILL)
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            _kill_if_of(processes.attempt, int(entry.name))


def send(pid: int, start: int, number: signal.Signals, *, group: bool = False) -> bool:
    """Signal the process with this id and start time (or its group); return False if it does not run any more.

    The pidfd is opened before the start time is compared, and the signal goes through it: it reaches the process that
    was compared, or none.
    """
    if not pid:
        return False
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not is_alive(pid, start):
            return False
        if group:
            _signal_group(handle, pid, number)
        else:
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def _signal_group(handle: int, pid: int, number: signal.Signals) -> None:
    """Signal the group that a process leads; before Linux 6.9 by the number, which is compared just before."""
    try:
        signal.pidfd_send_signal(handle, number, None, PIDFD_SIGNAL_PROCESS_GROUP)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        os.killpg(pid, number)


def _kill_if_of(attempt: str, pid: int) -> None:
    """Kill a process that has the attempt in its environment. Others, and other users' processes, are left alone."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if f"TOWPATH_ATTEMPT={attempt}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except OSError:  # another user's, or it has ended
        return
    finally:
        os.close(handle)
