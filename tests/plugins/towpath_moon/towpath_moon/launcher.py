"""A launcher on this machine: a folder and a process for each job."""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from batch.bundle import starter_source
from batch.contract import JobState, JobView, LauncherError, Offer, Report, Updated, starter_spec
from state.offer.catalog import Catalog
from state.plugins.launchers import options_of
from state.records.models import JobRef, Server


def open_moon(cluster, context):
    return MoonLauncher(cluster.name, Path(options_of(cluster).crater))


class MoonLauncher:
    """See `batch.contract.Launcher`."""

    def __init__(self, name, crater):
        self.name = name
        self.crater = crater

    async def place(self, spec):
        return None

    async def submit(self, spec):
        return await self._thread(self._submit, spec)

    async def poll(self, known=()):
        return await self._thread(self._poll)

    async def update(self, change):
        return Updated.NOT_WAITING

    async def cancel(self, ref, attempt):
        await self._thread(self._cancel, attempt)

    async def catalog(self):
        catalog = Catalog(cluster=self.name, kind="moon", time=time.time(), cores=os.cpu_count() or 1)
        return Offer(catalog=catalog, grants={})

    async def check(self):
        return ()

    def troubles(self):
        return ()

    async def close(self):
        pass

    async def _thread(self, work, *arguments):
        try:
            return await asyncio.to_thread(work, *arguments)
        except OSError as error:
            raise LauncherError(f"The crater cannot be used: {error.strerror}.", transient=True) from error

    def _submit(self, spec):
        folder = self.crater / spec.attempt
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            job = _read(folder / "job.json")
            if job is None:
                (folder / "record.json").write_bytes(msgspec.json.encode(spec.record))
                job = self._start(spec, folder)
                (folder / "job.json").write_text(json.dumps(job))
        return JobRef(cluster=self.name, native_id=str(job["pid"]))

    def _start(self, spec, folder):
        (folder / "starter.py").write_text(starter_source())
        fd = os.open(folder / "spec.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(starter_spec(spec, str(folder / "job"), end_patience=3.0))
        starter = [sys.executable, "-I", "-S", str(folder / "starter.py"), str(folder / "spec.json")]
        done = subprocess.run(
            ["/bin/sh", "-c", 'setsid "$@" >/dev/null 2>&1 & echo $!', "sh", *starter],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True,
        )  # fmt: skip
        pid = int(done.stdout)
        return {"pid": pid, "start": start_time(pid), "user": spec.user, "server": spec.server, "time": time.time()}

    def _poll(self):
        views = {}
        for folder in self.crater.iterdir() if self.crater.is_dir() else ():
            job = _read(folder / "job.json")
            if job is not None:
                views[folder.name] = self._view(folder, job)
        return views

    def _view(self, folder, job):
        alive = start_time(job["pid"]) == job["start"]  # before the report is read, which comes first
        with contextlib.suppress(FileNotFoundError):
            record = msgspec.json.decode((folder / "record.json").read_bytes(), type=Server)
        report = None
        with contextlib.suppress(FileNotFoundError):
            report = msgspec.json.decode((folder / "job" / "report.json").read_bytes(), type=Report)
        state = JobState.ACTIVE
        if not alive:
            good = report is not None and report.exit_code == 0
            cancelled = (folder / "cancelled").exists()
            state = JobState.CANCELED if cancelled else JobState.COMPLETED if good else JobState.FAILED
        return JobView(
            attempt=folder.name,
            user=job["user"],
            server=job["server"],
            state=state,
            native_id=str(job["pid"]),
            started=job["time"],
            report=report,
            record=record,
        )

    def _cancel(self, attempt):
        folder = self.crater / attempt
        job = _read(folder / "job.json")
        if job is None:
            return
        (folder / "cancelled").touch()
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(job["pid"])
            try:
                if start_time(job["pid"]) == job["start"]:
                    signal.pidfd_send_signal(handle, signal.SIGTERM)
            finally:
                os.close(handle)


def _read(path):
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None


def start_time(pid):
    """When the process started, in clock ticks since boot; 0: there is none, or only its exit code is left."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rsplit(b")", 1)[1].split()
    except (OSError, IndexError):
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])
