"""Ending a job: it is marked as cancelled, then signalled; what is left after its grace is killed."""

import os
import signal
import time

from batch.launchers.ssh.remote.folders import Folders, read_note
from batch.launchers.ssh.remote.processes import marked, of_attempt, signal_process
from batch.starter.files import make_private
from batch.starter.processes import boot_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Any

KILL_MARGIN = 5.0


def stop(request: "dict[str, Any]", account: "pwd.struct_passwd") -> "dict[str, Any]":
    """Request the end of an attempt. The mark prevents a concurrent start from starting it."""
    folders = Folders(request["folder"], account)
    attempt = request["attempt"]
    folder = folders.job(attempt)
    for one in (folders.root, folders.jobs, folder):
        make_private(one)
    configured = (read_note(folder, "owner.json") or {}).get("grace")
    grace = configured if isinstance(configured, (int, float)) else request["grace"]
    mark = os.path.join(folder, "canceled")
    try:
        os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        seconds_ago = 0.0
    except FileExistsError:
        seconds_ago = time.time() - os.lstat(mark).st_mtime
    job = read_note(folder, "job.json") or {}
    if job.get("attempt") != attempt or job.get("boot") != boot_id():
        job = {}
    starters = [(job.get("pid", 0), job.get("start", 0))]
    starters += [
        (one["pid"], one["start"]) for one in marked() if (one["attempt"], one["uid"]) == (attempt, os.geteuid())
    ]
    app = (job.get("app", 0), job.get("app_start", 0))
    if seconds_ago > grace + KILL_MARGIN:
        signal_process(app[0], app[1], signal.SIGKILL, group=True)
        for pid, start in starters:
            signal_process(pid, start, signal.SIGKILL)
        for pid, start in of_attempt(attempt):
            signal_process(pid, start, signal.SIGKILL)
    elif seconds_ago == 0.0 or seconds_ago > grace / 2:
        signalled = [signal_process(pid, start, signal.SIGTERM) for pid, start in dict(starters).items()]
        if not any(signalled) and not signal_process(app[0], app[1], signal.SIGTERM, group=True):
            for pid, start in of_attempt(attempt):  # an app whose starter was killed before it recorded the app's pid
                signal_process(pid, start, signal.SIGTERM)
    return {}
