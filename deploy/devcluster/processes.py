"""Starts, finds and ends processes that outlive the process that started them.

Owns the record of a process: pid and start time, so that a reused pid is never mistaken for it. Does not know about
Slurm.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    """A process, identified by its pid and the clock tick at which it started (proc_pid_stat(5), field 22)."""

    pid: int
    start: int

    @property
    def alive(self) -> bool:
        """Whether it is running or stopped by a signal; a zombie has ended."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        return _start(self.pid) == self.start

    def signal(self, number: int) -> None:
        """Send a signal. Does nothing if the process has ended."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def end(self, *, seconds: float) -> None:
        """Send SIGTERM, and SIGKILL after `seconds` (0: at once); return when the process has ended.

        A stopped process is continued, so that it can handle SIGTERM.
        """
        if seconds:
            self.signal(signal.SIGTERM)
            self.signal(signal.SIGCONT)
        if not seconds or not self._gone_within(seconds):
            self.signal(signal.SIGKILL)
            self._gone_within(10)

    def _gone_within(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while self.alive:
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True

    @classmethod
    def of(cls, pid: int) -> "Process | None":
        """Return the process that has this pid now, or None."""
        start = _start(pid)
        return None if start is None else cls(pid, start)


def _start(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def launch(record: Path, argv: Sequence[str], *, environment: Mapping[str, str], output: Path) -> Process:
    """Start a process in its own session and write its record. Its output is appended to `output`."""
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(output), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    # Python ignores these two signals, and a child would inherit that.
    ignored = [signal.SIGPIPE, signal.SIGXFSZ]
    pid = os.posix_spawnp(argv[0], list(argv), environment, file_actions=files, setsid=True, setsigdef=ignored)
    process = Process.of(pid) or Process(pid, 0)
    record.write_text(f"{process.pid} {process.start}\n")
    return process


def recorded(record: Path) -> Process | None:
    """Return the process of a record, running or not, or None if there is no record."""
    try:
        pid, start = record.read_text().split()
        return Process(int(pid), int(start))
    except (OSError, ValueError):
        return None


def with_hosts_file(hosts: Path) -> Iterator[Process]:
    """Yield every process whose /etc/hosts is `hosts`, that is, those started in the cluster's mount namespaces."""
    try:
        status = hosts.stat()
    except OSError:
        return
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if os.path.samestat((entry / "root/etc/hosts").stat(), status):
                    process = Process.of(int(entry.name))
                    if process is not None:
                        yield process
