"""Which process a pid means: a pid alone may be another process's by now."""

import os

from batch.starter.files import read_file

ATTEMPT = "TOWPATH_ATTEMPT"
"""The variable that every process of an app has."""


def start_time(pid: int) -> int:
    """When the process began, in clock ticks since boot (proc(5), field 22); 0: there is none."""
    try:
        return int(read_file("/proc/%d/stat" % pid).rsplit(b")", 1)[1].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def boot_id() -> str:
    """The id of this boot of the machine; `""`: not known."""
    try:
        return read_file("/proc/sys/kernel/random/boot_id").decode("ascii").strip()
    except OSError:
        return ""


def is_alive(pid: int, start: int) -> bool:
    """Whether this very process runs: the pid with that start time, and not a zombie."""
    try:
        fields = read_file("/proc/%d/stat" % pid).rsplit(b")", 1)[1].split()
        return int(fields[19]) == start and fields[0] not in (b"Z", b"X")
    except (OSError, IndexError, ValueError):
        return False


def environment_of(pid: int) -> "dict[str, str]":
    """The environment with which the process was started; empty where it is not ours to read."""
    try:
        rows = read_file("/proc/%d/environ" % pid).split(b"\0")
    except OSError:
        return {}
    return dict(row.decode("utf-8", "surrogateescape").partition("=")[::2] for row in rows if row)


def running_attempts() -> "set[str]":
    """The attempts whose processes run here, as far as they are ours to see."""
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            attempt = environment_of(int(name)).get(ATTEMPT)
            if attempt:
                found.add(attempt)
    return found


def find_app(attempt: str) -> int:
    """The pid of an attempt's app; 0: there is none.

    It leads a session of its own. So may what it has started (a terminal's shell), which is younger.
    """
    variable = ("%s=%s" % (ATTEMPT, attempt)).encode("ascii")
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                ours = variable in read_file("/proc/%s/environ" % name).split(b"\0")
                if ours and os.getsid(int(name)) == int(name):
                    found.append((start_time(int(name)), int(name)))
            except OSError:  # another user's, or it has ended
                continue
    return min(found)[1] if found else 0
