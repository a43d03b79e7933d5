"""The `local` cluster: each server is a session of processes on this machine.

Owns starting the starter so that it outlives the hub, finding it again by attempt, start time and boot, and ending it.
Does not know servers. It sets no resource limits; those of the machine apply.

A submit makes folder, lock, spec.json, process and job.json, in this order. After a crash at any step, the next submit
continues from the folder. The starter inherits the lock, so there is at most one. The process is a fork of one that has
already loaded the starter (`batch.launchers.local.forks`).
"""

import asyncio
import errno
import os
import re
import shutil
import stat
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from batch.contract import (
    Change,
    JobSpec,
    JobView,
    LauncherError,
    Offer,
    PartReport,
    Updated,
    starter_spec,
)
from batch.launchers.local.folder import JobFolder, Processes, boot_id, native_id, try_lock
from batch.launchers.local.forks import ForkLostError, Forks, compiled_starter
from batch.launchers.local.stops import Stops
from batch.launchers.local.takeover import take_over
from state.offer.catalog import Catalog
from state.records.models import JobRef, Server

LOCK_FD: Final = 3
END_PATIENCE: Final = 3.0
"""Seconds for which a starter tries to report its end. The report is read from the folder anyway."""
KEEP_SECONDS: Final = 24 * 3600.0
CLEAN_EVERY: Final = 3600.0
FORK_TRIES: Final = 3
OTHERS_SECONDS: Final = 2.0
"""For so long a submit waits for another one that has the job's lock to write down its process."""
TRANSIENT: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.EIO}
)
ATTEMPT: Final = re.compile(r"[0-9a-f]{32}")

R = TypeVar("R")


class LocalLauncher:
    """See `batch.contract.Launcher`. File work and forks happen in threads; one is for submits, which fork in turn."""

    def __init__(self, cluster: str, jobs: Path) -> None:
        self._cluster = cluster
        self._jobs = jobs
        self._boot = boot_id()
        self._folders: dict[str, JobFolder] = {}
        self._busy: set[str] = set()
        self._stops = Stops()
        self._guard = threading.Lock()
        self._cleaned = 0.0
        self._starter = ""
        self._forks = Forks(jobs)
        self._submits = ThreadPoolExecutor(1, thread_name_prefix="submit")

    async def place(self, spec: JobSpec) -> JobRef | None:  # noqa: ARG002 - there is nothing to choose from
        """See the contract."""
        return None

    async def submit(self, spec: JobSpec) -> JobRef:
        """See the contract. About 1 ms: three small files and a fork."""
        return await self._in_thread(partial(self._submit, spec), self._submits)

    async def poll(self, known: Collection[Server] = ()) -> dict[str, JobView]:  # noqa: ARG002 - jobs are listed here
        """See the contract. Two small reads of /proc or of the folder per job that runs, none per ended one."""
        return await self._in_thread(self._poll)

    async def cancel(self, ref: JobRef | None, attempt: str) -> None:  # noqa: ARG002  (a hint that is not needed)
        """See the contract. A call after the grace kills what is left.

        A process is the job's own only by its id, its start time and this boot, as job.json has them.
        """
        await self._in_thread(partial(self._cancel, attempt))

    async def update(self, change: Change) -> Updated:  # noqa: ARG002 - a job here runs at once
        """See the contract."""
        return Updated.NOT_WAITING

    async def catalog(self) -> Offer:
        """This machine's cores and memory."""
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        cores = os.cpu_count() or 1
        return Offer(
            catalog=Catalog(cluster=self._cluster, kind="local", time=time.time(), cores=cores, memory=memory),
            grants={},
        )

    async def check(self) -> tuple[PartReport, ...]:
        """See the contract."""
        return ()

    def troubles(self) -> tuple[PartReport, ...]:
        """See the contract."""
        return ()

    async def close(self) -> None:
        """End the fork server; the jobs go on."""
        await asyncio.to_thread(self._forks.close)

    async def _in_thread(self, work: Callable[[], R], executor: ThreadPoolExecutor | None = None) -> R:
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, work)
        except OSError as error:
            message = f"The folder of the jobs cannot be used: {error.strerror or error}."
            raise LauncherError(message, transient=error.errno in TRANSIENT, code="folder") from error

    # --- submit

    def _submit(self, spec: JobSpec) -> JobRef:
        if not ATTEMPT.fullmatch(spec.attempt):
            raise LauncherError("The attempt's id is not 32 hex digits.", transient=False, code="attempt")
        folder = self._folder(spec.attempt)
        self._busy.add(spec.attempt)
        try:
            self._private(self._jobs)
            self._private(folder.path)
            return self._once(spec, folder)
        finally:
            self._busy.discard(spec.attempt)

    def _once(self, spec: JobSpec, folder: JobFolder) -> JobRef:
        """Start the job, unless it was started, is being started by another submit, or is not to be started."""
        limit = time.monotonic() + OTHERS_SECONDS
        lost = 0
        while True:
            lock = try_lock(folder.path / "lock")
            if lock is None:
                if folder.processes() is not None or time.monotonic() > limit:
                    return self._ref(folder.processes())
                time.sleep(0.01)
                continue
            try:
                if (processes := folder.processes()) is not None or (folder.path / "canceled").exists():
                    return self._ref(processes)
                return self._spawn(spec, folder, lock)
            except ForkLostError as error:  # whether there is a process is for the lock to say
                lost += 1
                limit = time.monotonic() + OTHERS_SECONDS
                if lost == FORK_TRIES:
                    message = "The process that starts this machine's jobs keeps ending."
                    raise LauncherError(message, transient=True, code="fork") from error
            finally:
                os.close(lock)

    def _spawn(self, spec: JobSpec, folder: JobFolder, lock: int) -> JobRef:
        path = folder.path
        # Written in place: half of it is as good as none, and the lock keeps others off.
        text = os.open(path / "spec.json", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            _write_all(text, starter_spec(spec, str(path), lock_fd=LOCK_FD, end_patience=END_PATIENCE))
            os.lseek(text, 0, os.SEEK_SET)
            folder.forget()
            starter = self._compiled()
            log = os.open(path / "starter.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
            try:
                pid, start = self._forks.fork(starter, spec=text, log=log, lock=lock)
            finally:
                os.close(log)
        finally:
            os.close(text)
        processes = Processes(attempt=spec.attempt, pid=pid, start=start, boot=self._boot, time=time.time())
        _write_first(path / "job.json", msgspec.json.encode(processes))
        return self._ref(processes)

    def _ref(self, processes: Processes | None) -> JobRef:
        return JobRef(cluster=self._cluster, native_id=native_id(processes) if processes else "")

    def _compiled(self) -> str:
        if not self._starter:
            self._starter = compiled_starter(self._jobs)
        return self._starter

    def _private(self, path: Path) -> None:
        """Make the folder 0700, or check that the one there is ours alone."""
        try:
            os.mkdir(path, 0o700)  # noqa: PTH102  (a hot path)
        except FileNotFoundError:
            path.mkdir(mode=0o700, parents=path == self._jobs)
        except FileExistsError:
            facts = os.lstat(path)
            if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
                message = f"The folder {path} is not private to the hub's user."
                raise LauncherError(message, transient=False, code="folder") from None

    # --- poll

    def _poll(self) -> dict[str, JobView]:
        views: dict[str, JobView] = {}
        now = time.time()
        try:
            names = [entry.name for entry in os.scandir(self._jobs)]
        except FileNotFoundError:
            return views
        for name in names:
            if ATTEMPT.fullmatch(name):
                folder = self._folder(name)
                view = folder.view(boot=self._boot, now=now, busy=name in self._busy)
                if view is not None:
                    views[name] = view
                if folder.unwatched is not None and name not in self._busy:
                    take_over(folder, self._forks, self._compiled())
        if now - self._cleaned > CLEAN_EVERY:
            self._cleaned = now
            self._clean(names, views, now)
        return views

    def _clean(self, names: list[str], views: dict[str, JobView], now: float) -> None:
        """Remove the folders of jobs that ended a day ago, and of what was cancelled before it was submitted."""
        for name in names:
            view = views.get(name)
            path = self._jobs / name
            if not ATTEMPT.fullmatch(name) or (view is not None and not view.state.final):
                continue
            try:
                if now - path.stat().st_mtime > KEEP_SECONDS:
                    shutil.rmtree(path)
                    # a starter that was killed leaves its socket's folder
                    shutil.rmtree(f"/tmp/towpath-{os.geteuid()}-{name}", ignore_errors=True)  # noqa: S108
                    self._folders.pop(name, None)
                    self._stops.forget(name)
                    views.pop(name, None)
            except OSError:  # looked at again in an hour
                continue

    # --- cancel

    def _cancel(self, attempt: str) -> None:
        """Mark, then signal. The mark prevents a submit that is in progress from starting anything afterwards."""
        if not ATTEMPT.fullmatch(attempt):
            return
        folder = self._folder(attempt)
        self._private(self._jobs)
        self._private(folder.path)
        self._stops.stop(folder, self._boot)

    def _folder(self, attempt: str) -> JobFolder:
        with self._guard:
            folder = self._folders.get(attempt)
            if folder is None:
                folder = self._folders[attempt] = JobFolder(self._jobs / attempt)
            return folder


def _write_first(path: Path, text: bytes) -> None:
    """Write a 0600 file, unless there is one: the starter, which replaces it, was faster."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return
    try:
        _write_all(fd, text)
    finally:
        os.close(fd)


def _write_all(fd: int, text: bytes) -> None:
    while text:
        text = text[os.write(fd, text) :]
