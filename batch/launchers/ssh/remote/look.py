"""What jobs of the account look like, for the hub to conclude from."""

import os
import time

from batch.launchers.ssh.remote.folders import Folders, read_note, try_lock
from batch.launchers.ssh.remote.processes import is_alive
from batch.starter.processes import boot_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Any


def look(request: "dict[str, Any]", account: "pwd.struct_passwd") -> "dict[str, Any]":
    """The facts about each of these attempts that has a folder."""
    folders = Folders(request["folder"], account)
    boot = boot_id()
    found = {}
    for attempt in request["attempts"]:
        folder = folders.job(attempt)
        if os.path.isdir(folder):
            found[attempt] = facts(folder, attempt, boot)
    return {"boot": boot, "jobs": found}


def facts(folder: str, attempt: str, boot: str) -> "dict[str, Any]":
    """What one job's folder says."""
    lock = try_lock(os.path.join(folder, "lock"))
    if lock >= 0:
        os.close(lock)
    job = read_note(folder, "job.json")
    if job is not None and job.get("attempt") != attempt:
        job = None
    return {
        "owner": read_note(folder, "owner.json"),
        "job": job,
        "report": read_note(folder, "report.json"),
        "canceled": os.path.exists(os.path.join(folder, "canceled")),
        "locked": lock < 0,
        "alive": runs(job, boot),
        "age": time.time() - os.lstat(folder).st_mtime,
    }


def runs(job: "dict[str, Any] | None", boot: str) -> bool:
    """Whether the starter or the app runs. An app goes on without its starter, should that be killed."""
    if job is None or job.get("boot") != boot:
        return False
    return is_alive(job.get("pid", 0), job.get("start", 0)) or is_alive(job.get("app", 0), job.get("app_start", 0))
