"""A job's folder on this machine: what lies in it, and what it says about the job.

Owns: the layout of `<data_dir>/jobs/<attempt>/` (0700), the reading of it as a JobView, and which processes are
really the job's own. Refuses to know when a job is started or ended.

    spec.json    what is to run, with its secrets (0600); its presence is the write-ahead of a submit
    lock         held (flock) by the starter for as long as it lives: there is at most one
    job.json     who runs it: pid and start time of starter and app, and the boot id
    report.json  the starter's last word
    canceled     somebody asked for the end
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

T = TypeVar("T")

STILLBORN_SECONDS = 30.0
"""A starter that has not written its job.json by then did not come up."""


class Processes(Struct, frozen=True, kw_only=True):
    """job.json. `start` and `app_start`: clock ticks since boot, as /proc/PID/stat has them (field 22).

    `takeover`: how many starters of the job went before this one.
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
    """What tells this boot of the machine from every other."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def is_alive(pid: int, start: int) -> bool:
    """Whether this very process runs: the pid with that start time, and not a zombie."""
    if not pid or not start:
        return False
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  (a hot path: no Path object per job)
            fields = file.read().rsplit(b")", 1)[1].split()
    except (OSError, IndexError):
        return False
    return int(fields[19]) == start and fields[0] not in (b"Z", b"X")


def try_lock(path: Path) -> int | None:
    """The descriptor of the job's lock, now ours; None when a starter (or another submit) holds it."""
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
        """Drop what was read: the submit has written anew."""
        self._spec = self._processes = self._view = None

    def spec(self) -> StarterSpec | None:
        """The starter's input; None when the submit was not written yet, or is not ours to read."""
        if self._spec is None:
            self._spec = _decode(self.path / "spec.json", StarterSpec)
        return self._spec

    def processes(self) -> Processes | None:
        """job.json, read again until it names the app. One of another attempt says nothing about this job."""
        if self._processes is None or not self._processes.app:
            found = _decode(self.path / "job.json", Processes)
            self._processes = found if found is not None and found.attempt == self.attempt else None
        return self._processes

    def report(self) -> Report | None:
        """report.json, read again when it was replaced."""
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
        """Whether the starter or the app runs. An app goes on without its starter, should that be killed."""
        self.unwatched = None
        processes = self.processes()
        if processes is None or processes.boot != boot:
            return False
        if is_alive(processes.pid, processes.start):
            return True
        processes = self.processes() if not processes.app else processes
        if processes is None:
            return False
        pid = processes.app or find_app(self.attempt)  # its starter may have died before it wrote that down
        start = processes.app_start if processes.app else start_time(pid)
        if not is_alive(pid, start):
            return False
        if not self._is_over():
            self.unwatched = (pid, start)
        return True

    def _is_over(self) -> bool:
        """Whether the job is to end, or has reported its end."""
        report = self.report()
        return (self.path / "canceled").exists() or (report is not None and report.kind != "ready")

    def view(self, *, boot: str, now: float, busy: bool = False) -> JobView | None:
        """The job as the contract shows it; None when there is no job here (yet).

        `busy`: a submit of our own is at work here.
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
            record=spec.record,
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
            return JobState.FAILED, "The machine was started anew."
        return JobState.FAILED, "The job's processes were killed."

    def _before_it_ran(self, *, boot: str, now: float) -> tuple[JobState, str]:
        fd = try_lock(self.path / "lock")
        if fd is None:
            return JobState.QUEUED, ""
        os.close(fd)
        if self.processes() is not None:  # it came up and ended between the two looks
            return self._state(boot=boot, now=now)
        if (self.path / "canceled").exists():
            return JobState.CANCELED, "The job was cancelled."
        if now - (self.path / "spec.json").stat().st_mtime > STILLBORN_SECONDS:
            return JobState.FAILED, "The job's starter did not come up."
        return JobState.NEW, ""


def native_id(processes: Processes) -> str:
    """The id of a local job: the starter's pid and start time."""
    return f"{processes.pid}.{processes.start}"


def _decode(path: Path, kind: type[T]) -> T | None:
    """The file as a value; None when it is absent, half written, or of another shape."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return None
