"""The files of the hub below an account's folder (`~/.towpath` by default).

starters/DIGEST.py  the starter, once per version
jobs/ATTEMPT/       a job: owner.json, lock, job.json, report.json, canceled, setup.sh, app.log, starter.log
"""

import fcntl
import json
import os

from batch.ssh.remote.errors import RefusedError
from batch.starter.files import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Any

MAX_NOTE = 256 * 1024


class Folders:
    """Where an account's files are."""

    def __init__(self, folder: str, account: "pwd.struct_passwd") -> None:
        """`folder`: whole, or with `~/` in front. Raises RefusedError for a home that is not there."""
        if folder[:2] == "~/":
            home = account.pw_dir
            if not os.path.isdir(home):
                raise RefusedError("home", home)
            folder = os.path.join(home, folder[2:])
        self.root = folder
        self.jobs = os.path.join(folder, "jobs")
        self.starters = os.path.join(folder, "starters")

    def job(self, attempt: str) -> str:
        """The folder of a job."""
        return os.path.join(self.jobs, attempt)


def read_note(folder: str, name: str) -> "dict[str, Any] | None":
    """A small JSON file of ours; None when it is not there, not whole, or not what we write."""
    path = os.path.join(folder, name)
    try:
        if os.lstat(path).st_size > MAX_NOTE:
            return None
        note = json.loads(read_file(path).decode("utf-8"))
    except (OSError, ValueError):
        return None
    return note if isinstance(note, dict) else None


def try_lock(path: str) -> int:
    """The descriptor of a job's lock, now ours; -1 when a starter or another request holds it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return -1
    return fd
