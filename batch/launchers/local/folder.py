"""A job's folder on this machine: its files, and the state of the job that follows from them.

Owns the layout of `<data_dir>/jobs/<attempt>/` (0700), reading it as a JobView, and identifying the job's own
processes. Does not start or end jobs.

    spec.json    what to run, with its secrets (0600); a submit writes it before it starts anything
    lock         held (flock) by the starter while it runs, so that only one runs
    job.json     its processes: pid and start time of starter and app, and the boot id
    report.json  the starter's last report
    canceled     the job was cancelled
    app.log, starter.log
"""

import fcntl
import os
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from batch.contract import JobState, JobView, Report, StarterSpec
from batch.starter.processes import find_app, start_time
from state.records.codec import UnreadableError
from state.records.models import Server
from state.store import codecs

T = TypeVar("T")

STILLBORN_SECONDS = 30.0
"""A starter that has not written its job.json after this time did not start."""


class Processes(Struct, frozen=True, kw_only=True):
    """job.json. `start` and `app_start`: clock ticks since boot, from /proc/PID/stat (field 22).

    `takeover`: how many starters of the job ran before this one.
    """

    attempt: str
    pid: int
    start: int
    boot: str
    app: int = 0
    app_start: int = 0
    time: float = 0.0
    takeover: int = 0


def boot_id() -> str:
    """Return the id of this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def is_alive(pid: int, start: int) -> bool:
    """Return whether this process runs: the pid with that start time, and not a zombie."""
    if not pid or not start:
        return False
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  (a hot path: no Path object per job)
            fields = file.read().rsplit(b")", 1)[1].split()
    except (OSError, IndexError):
        return False
    return int(fields[19]) == start and fields[0] not in (b"Z", b"X")


def try_lock(path: Path) -> int | None:
    """Take the job's lock and return its descriptor, or None if a starter or another submit holds it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


class JobFolder:
    """One job's folder. Reads are cached by the file's time, size and inode, so that a poll of many is cheap."""

    __slots__ = ("_processes", "_report", "_report_mark", "_spec", "_view", "attempt", "path", "unwatched")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.attempt = path.name
        self._spec: StarterSpec | None = None
        self._processes: Processes | None = None
        self._report: Report | None = None
        self._report_mark: tuple[int, int, int] | None = None
        self._view: JobView | None = None
        self.unwatched: tuple[int, int] | None = None
        """Pid and start time of an app that runs without its starter, as of the last view."""

    def take(self, processes: Processes) -> None:
        """Use this as job.json, which is being written."""
        self._processes = processes
        self.unwatched = None

    def forget(self) -> None:
        """Forget what was read: the submit has written new files."""
        self._spec = self._processes = self._view = None

    def spec(self) -> StarterSpec | None:
        """Return the starter's input, or None if it was not written yet or cannot be read."""
        if self._spec is None:
            self._spec = _decode(self.path / "spec.json", StarterSpec)
        return self._spec

    def processes(self) -> Processes | None:
        """Return job.json, read again until it names the app. A file of another attempt is ignored."""
        if self._processes is None or not self._processes.app:
            found = _decode(self.path / "job.json", Processes)
            self._processes = found if found is not None and found.attempt == self.attempt else None
        return self._processes

    def report(self) -> Report | None:
        """Return report.json, read again after it was replaced."""
        path = self.path / "report.json"
        try:
            facts = path.stat()
        except OSError:
            return None
        mark = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
        if mark != self._report_mark:
            self._report = _decode(path, Report)
            self._report_mark = mark
        return self._report

    def alive(self, boot: str) -> bool:
        """Return whether the starter or the app runs. An app keeps running if its starter is killed."""
        self.unwatched = None
        processes = self.processes()
        if processes is None or processes.boot != boot:
            return False
        if is_alive(processes.pid, processes.start):
            return True
        processes = self.processes() if not processes.app else processes
        if processes is None:
            return False
        pid = processes.app or find_app(self.attempt)  # its starter may have died before it recorded that
        start = processes.app_start if processes.app else start_time(pid)
        if not is_alive(pid, start):
            return False
        if not self._is_over():
            self.unwatched = (pid, start)
        return True

    def _is_over(self) -> bool:
        """Return whether the job has to end, or has reported its end."""
        report = self.report()
        return (self.path / "canceled").exists() or (report is not None and report.kind != "ready")

    def view(self, *, boot: str, now: float, busy: bool = False) -> JobView | None:
        """Return the job as the contract shows it, or None if there is no job (yet).

        `busy`: a submit of this process is in progress.
        """
        if self._view is not None and self._view.state.final:
            return self._view
        spec = self.spec()
        if spec is None:
            return None
        state, reason = (JobState.QUEUED, "") if busy else self._state(boot=boot, now=now)
        processes = self._processes
        report = self.report()
        exit_code = report.exit_code if report is not None and state.final else None
        self._view = JobView(
            attempt=self.attempt,
            user=spec.user,
            server=spec.server,
            state=state,
            native_id=native_id(processes) if processes else "",
            reason=reason,
            exit_code=exit_code,
            started=processes.time if processes else None,
            report=report,
            record=_record(spec),
        )
        return self._view

    def _state(self, *, boot: str, now: float) -> tuple[JobState, str]:
        if self.processes() is None:
            return self._before_it_ran(boot=boot, now=now)
        if self.alive(boot):
            return JobState.ACTIVE, ""
        if (self.path / "canceled").exists():
            return JobState.CANCELED, "The job was cancelled."
        return self._after_it_ran(boot)

    def _after_it_ran(self, boot: str) -> tuple[JobState, str]:
        report, processes = self.report(), self._processes
        if report is not None and report.kind != "ready":
            ended_well = report.kind == "ended" and report.exit_code == 0
            return JobState.COMPLETED if ended_well else JobState.FAILED, report.message
        if processes is not None and processes.boot != boot:
            return JobState.FAILED, "The machine was restarted."
        return JobState.FAILED, "The job's processes were killed."

    def _before_it_ran(self, *, boot: str, now: float) -> tuple[JobState, str]:
        fd = try_lock(self.path / "lock")
        if fd is None:
            return JobState.QUEUED, ""
        os.close(fd)
        if self.processes() is not None:  # it started and ended in between
            return self._state(boot=boot, now=now)
        if (self.path / "canceled").exists():
            return JobState.CANCELED, "The job was cancelled."
        if now - (self.path / "spec.json").stat().st_mtime > STILLBORN_SECONDS:
            return JobState.FAILED, "The job's starter did not start."
        return JobState.NEW, ""


def native_id(processes: Processes) -> str:
    """Return the id of a local job: the starter's pid and start time."""
    return f"{processes.pid}.{processes.start}"


def _record(spec: StarterSpec) -> Server | None:
    """Return the server's record as it was at the submit, or None if it cannot be read."""
    try:
        return codecs.SERVER.decode(bytes(spec.record))
    except UnreadableError:
        return None


def _decode(path: Path, kind: type[T]) -> T | None:
    """Return the decoded file, or None if it is missing, incomplete or invalid."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return None
