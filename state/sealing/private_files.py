"""Files with secrets: owned by this process's account, readable by nobody else, never half written."""

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from state.errors import TowpathError


class PrivateFileError(TowpathError):
    """A file with a secret is open to others, or belongs to another account."""


def make_private_folder(folder: Path) -> None:
    """Create the folder with mode 0700. Raises PrivateFileError if the one that exists is not private."""
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
        raise PrivateFileError(
            f"{folder} must be a folder of the hub's own account with mode 0700. Change its owner or mode."
        )


def is_private_file(path: Path, *, readable: bool = False) -> bool:
    """Return whether the file exists. Raises PrivateFileError if it has another owner, or others can read or write it.

    `readable`: others may read it, but not write it.
    """
    try:
        facts = path.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid():
        raise PrivateFileError(f"{path} must be a file of the hub's own account. Change its owner.")
    if facts.st_mode & (0o022 if readable else 0o077):
        mode = "0644" if readable else "0600"
        raise PrivateFileError(
            f"{path} is open to others (mode {facts.st_mode & 0o777:04o}); it must be {mode}."
            " Others may have read it: remove the file, and a new one is created."
        )
    return True


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: one writer at a time on this machine."""
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def write_private_file(path: Path, data: bytes) -> None:
    """Write the file with mode 0600, atomically and durably. The caller holds the folder's lock."""
    temporary = path.with_name(f"{path.name}.new")  # one writer at a time: an existing one is from a crashed writer
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)
    temporary.rename(path)
