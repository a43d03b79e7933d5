"""The state of jobs of the account, from which the hub draws its conclusions."""

import os
import time

from batch.launchers.ssh.remote.folders import Folders, read_note, try_lock
from batch.launchers.ssh.remote.processes import is_alive, of_attempt
from batch.starter.processes import boot_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Any


def look(request: "dict[str, Any]", account: "pwd.struct_passwd") -> "dict[str, Any]":
    """Return the facts about each of these attempts that has a folder."""
    folders = Folders(request["folder"], account)
    boot = boot_id()
    found = {}
    for attempt in request["attempts"]:
        folder = folders.job(attempt)
        if os.path.isdir(folder):
            found[attempt] = facts(folder, attempt, boot)
    return {"boot": boot, "jobs": found}


def facts(folder: str, attempt: str, boot: str) -> "dict[str, Any]":
    """Return the facts in one job's folder."""
    lock = try_lock(os.path.join(folder, "lock"))
    if lock >= 0:
        os.close(lock)
    job = read_note(folder, "job.json")
    if job is not None and job.get("attempt") != attempt:
        job = None
    report = read_note(folder, "report.json")
    return {
        "owner": read_note(folder, "owner.json"),
        "job": job,
        "report": report,
        "canceled": os.path.exists(os.path.join(folder, "canceled")),
        "locked": lock < 0,
        "alive": runs(job, report, boot),
        "age": time.time() - os.lstat(folder).st_mtime,
    }


def runs(job: "dict[str, Any] | None", report: "dict[str, Any] | None", boot: str) -> bool:
    """Return whether the starter or the app is running. An app keeps running if its starter is killed.

    The starter may have been killed before it recorded the app's pid: then the app is found by its environment.
    """
    if job is None or job.get("boot") != boot:
        return False
    if is_alive(job.get("pid", 0), job.get("start", 0)) or is_alive(job.get("app", 0), job.get("app_start", 0)):
        return True
    if report is not None and report.get("kind") != "ready":
        return False  # the starter has seen its end
    return next(of_attempt(job["attempt"]), None) is not None
