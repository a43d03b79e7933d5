"""The processes of jobs: found by a mark in their command line, and signalled only if they are still the same ones."""

import os
import signal

from batch.starter.files import read_file
from batch.starter.processes import start_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator

MARK = b"towpath-job"
"""Part of the command line of each starter, before the attempt and its share."""
MAX_COMMAND_LINE = 4096


def marked() -> "list[dict[str, Any]]":
    """Return the visible starters on this host, of every account: of an attempt's processes the first one.

    Processes that a starter has forked have its command line too.
    """
    first = {}  # type: dict[tuple[str, int], dict[str, Any]]
    for process in _all_marked():
        key = (process["attempt"], process["uid"])
        if key not in first or process["start"] < first[key]["start"]:
            first[key] = process
    return list(first.values())


def _all_marked() -> "Iterator[dict[str, Any]]":
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            arguments = beginning("/proc/%s/cmdline" % entry).split(b"\0")
            at = arguments.index(MARK)
            attempt, label = arguments[at + 1].decode("ascii"), arguments[at + 2].decode("ascii")
            uid = os.stat("/proc/" + entry).st_uid
        except (OSError, ValueError, IndexError, UnicodeError):
            continue
        start = start_time(int(entry))
        if start:
            yield {"attempt": attempt, "label": label, "pid": int(entry), "start": start, "uid": uid}


def beginning(path: str) -> bytes:
    """Return the first bytes of a file: command lines may have megabytes, and a starter's mark is at the beginning."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, MAX_COMMAND_LINE)
    finally:
        os.close(fd)


def is_alive(pid: int, start: int) -> bool:
    """Return whether this process runs: the pid with that start time, and not a zombie."""
    if not pid or not start:
        return False
    try:
        fields = read_file("/proc/%d/stat" % pid).rsplit(b")", 1)[1].split()
        return int(fields[19]) == start and fields[0] not in (b"Z", b"X")
    except (OSError, IndexError, ValueError):
        return False


def signal_process(pid: int, start: int, number: int, *, group: bool = False) -> bool:
    """Signal this process, or the group that it leads; return False if it does not run any more.

    If the kernel and Python have pidfds, the signal goes through one that was opened before the start time was
    compared. A group has no such handle: its leader is compared right before.
    """
    if not pid:
        return False
    handle = _open(pid)
    try:
        if not is_alive(pid, start):
            return False
        if group:
            os.killpg(pid, number)
        elif handle >= 0 and hasattr(signal, "pidfd_send_signal"):
            signal.pidfd_send_signal(handle, number)
        else:
            os.kill(pid, number)
    except ProcessLookupError:
        return False
    finally:
        if handle >= 0:
            os.close(handle)
    return True


def of_attempt(attempt: str) -> "Iterator[tuple[int, int]]":
    """Yield (pid, start time) of processes with the attempt in their environment, if they are readable."""
    entry_text = ("TOWPATH_ATTEMPT=" + attempt).encode("ascii")
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        start = start_time(int(entry))
        try:
            ours = entry_text in read_file("/proc/%s/environ" % entry).split(b"\0")
        except OSError:
            continue
        if ours and is_alive(int(entry), start):
            yield int(entry), start


def _open(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):
        return -1
