"""A new starter for an app whose starter has died.

An app has a session of its own and keeps running when its starter is killed. Then nothing reports its state or serves
its network. So the poll that finds this starts another starter, which takes over the app.
"""

import json
import logging
import os
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec.structs import replace

from batch.launchers.local.folder import JobFolder, Processes, native_id, try_lock
from batch.launchers.local.forks import ForkLostError, Forks

log = logging.getLogger("towpath.local")

Fork = Callable[[int, int], tuple[int, int]]
"""Forks a starter with the descriptors of its specification and its output; returns its pid and start time."""

MAX_TAKEOVERS: Final = 5
"""After this many starters of one job have died, the next one ends the app and reports the reason."""


def take_over(folder: JobFolder, forks: Forks, starter: str) -> None:
    """Start a starter that takes over the app. If that is not possible now, the next poll tries again."""
    app = folder.unwatched
    processes = folder.processes()
    if app is None or processes is None or processes.takeover > MAX_TAKEOVERS:
        return
    try:
        lock = try_lock(folder.path / "lock")
        if lock is None:  # a helper of the dead starter is about to end, or another process works on this job
            return
        try:
            _replace(folder, processes, app, lambda spec, out: forks.fork(starter, spec=spec, log=out, lock=lock))
        finally:
            os.close(lock)
    except (OSError, ForkLostError, ValueError) as error:
        job = native_id(processes)
        log.warning("A starter could not be replaced. attempt=%s job=%s error=%s", folder.attempt, job, error)


def _replace(folder: JobFolder, before: Processes, app: tuple[int, int], fork: Fork) -> None:
    pid, start = app
    spec = json.loads((folder.path / "spec.json").read_bytes())
    takeover = before.takeover + 1
    spec |= {"adopt": {"pid": pid, "start": start}, "takeover": takeover, "began": before.time}
    if takeover > MAX_TAKEOVERS:
        spec["give_up"] = True
    text = os.memfd_create("towpath-spec", os.MFD_CLOEXEC)  # it holds secrets, and the disk may be full
    try:
        os.write(text, json.dumps(spec).encode())
        os.lseek(text, 0, os.SEEK_SET)
        output = _output(folder)
        try:
            new, began = fork(text, output)
        finally:
            os.close(output)
    finally:
        os.close(text)
    processes = replace(before, pid=new, start=began, app=pid, app_start=start, takeover=takeover)
    folder.take(processes)
    log.warning(
        "The starter of a running app had died; another one has taken over. attempt=%s job=%s",
        *(folder.attempt, native_id(processes)),
    )
    path = folder.path / "job.json"
    temporary = path.with_suffix(f".{os.getpid()}")
    try:
        temporary.touch(0o600)
        temporary.write_bytes(msgspec.json.encode(processes))
        temporary.replace(path)
    except OSError:  # the starter writes it, too
        temporary.unlink(missing_ok=True)


def _output(folder: JobFolder) -> int:
    """Open the file for the starter's own output."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    try:
        return os.open(folder.path / "starter.log", flags, 0o600)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)
