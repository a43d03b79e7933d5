"""Processes that outlive who started them: start, find again, end.

Owns: the record of a process (pid and start time, so that a pid that was given anew is never taken for it), and how one
is ended. Refuses to know: Slurm.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    """A process beyond doubt: its pid, and the clock tick at which it began (proc_pid_stat(5), field 22)."""

    pid: int
    start: int

    @property
    def alive(self) -> bool:
        """True while it runs (also stopped); a zombie counts as ended."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        return _start(self.pid) == self.start

    def signal(self, number: int) -> None:
        """Send a signal; nothing happens when it has ended."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def end(self, *, seconds: float) -> None:
        """SIGTERM, and SIGKILL after `seconds` (0: at once); returns when it has ended.

        A process that is stopped is woken to hear it.
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
        """The process that has this pid now."""
        start = _start(pid)
        return None if start is None else cls(pid, start)


def _start(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def launch(record: Path, argv: Sequence[str], *, environment: Mapping[str, str], output: Path) -> Process:
    """Start a process in a session of its own, and write its record; what it prints is appended to `output`."""
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(output), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    # Python ignores these two, and what is ignored would stay so in the child.
    heard = [signal.SIGPIPE, signal.SIGXFSZ]
    pid = os.posix_spawnp(argv[0], list(argv), environment, file_actions=files, setsid=True, setsigdef=heard)
    process = Process.of(pid) or Process(pid, 0)
    record.write_text(f"{process.pid} {process.start}\n")
    return process


def recorded(record: Path) -> Process | None:
    """The process of a record, whether it still runs or not; None: there is no record."""
    try:
        pid, start = record.read_text().split()
        return Process(int(pid), int(start))
    except (OSError, ValueError):
        return None


def marked(mark: Path) -> Iterator[Process]:
    """Every process for which `mark` is /etc/hosts: whatever was started in the cluster's mount namespaces."""
    try:
        wanted = mark.stat()
    except OSError:
        return
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if os.path.samestat((entry / "root/etc/hosts").stat(), wanted):
                    process = Process.of(int(entry.name))
                    if process is not None:
                        yield process
