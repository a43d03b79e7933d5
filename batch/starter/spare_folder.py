"""A job's folder on the node's own disk, for when its own cannot be used; and what killed jobs have left of theirs.

A job that is killed hard removes nothing. The user's next job on the node removes such a folder if it is certain that
no job uses it: no starter holds its lock, and no process of its attempt runs.
"""

import os
import stat

from batch.starter.files import make_private, remove
from batch.starter.old_jobs import is_attempt
from batch.starter.processes import running_attempts

PLACE = "/tmp"  # noqa: S108 - a folder in it is private, and checked to be ours
NAME = "towpath-%d-"
TRIES = 3
FILES = ("app.sock", "app.log")


class SpareFolder:
    """Of one job. It exists from `make` to `tidy_up`."""

    def __init__(self, attempt: str) -> None:
        self.path = os.path.join(PLACE, NAME % os.geteuid() + attempt)
        self.is_made = False

    def make(self) -> str:
        """Make the folder and hold its lock; its path. Raises OSError and StartError."""
        for _ in range(TRIES):
            make_private(self.path)
            if self.is_made or hold(self.path):
                break
        self.is_made = True
        return self.path

    def tidy_up(self) -> None:
        """Remove it, with the socket and the log that it may hold."""
        if self.is_made:
            for name in FILES:
                remove(os.path.join(self.path, name))
            try:
                os.rmdir(self.path)
            except OSError:
                pass


def hold(path: str) -> bool:
    """Lock a folder until this process ends; False: it was removed meanwhile. Where locks do not work, go without."""
    import fcntl

    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)  # helpers of an earlier starter may hold it, too
    except OSError:
        pass
    if is_at(fd, path):
        return True
    os.close(fd)
    return False


def is_at(fd: int, path: str) -> bool:
    """Whether the open folder is the one at this path."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except OSError:
        return False


def prune(attempt: str) -> None:
    """Remove spare folders that ended jobs of this user have left here. `attempt`: our own."""
    prefix = NAME % os.geteuid()
    try:
        names = [name for name in os.listdir(PLACE) if name.startswith(prefix) and is_attempt(name[len(prefix) :])]
    except OSError:
        return
    found = [name for name in names if name[len(prefix) :] != attempt]
    running = running_attempts() if found else set()
    for name in found:
        if name[len(prefix) :] not in running:
            try:
                remove_unused(os.path.join(PLACE, name))
            except OSError:  # in use, or gone
                pass


def remove_unused(path: str) -> None:
    """Remove a folder of ours with its files, unless a starter holds it, or it has folders. Raises OSError."""
    import fcntl

    facts = os.lstat(path)
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or stat.S_IMODE(facts.st_mode) != 0o700:
        return
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        names = os.listdir(fd)
        if not is_at(fd, path) or any(stat.S_ISDIR(os.lstat(os.path.join(path, name)).st_mode) for name in names):
            return
        for name in names:
            os.unlink(name, dir_fd=fd)
        os.rmdir(path)
    finally:
        os.close(fd)
