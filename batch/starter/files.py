"""Reading and writing files that belong only to the job's user."""

import os
import stat

from batch.starter.errors import StartError


def read_all(fd: int) -> bytes:
    """Read a descriptor until its end."""
    parts: "list[bytes]" = []
    while True:
        part = os.read(fd, 65536)
        if not part:
            return b"".join(parts)
        parts.append(part)


def read_file(path: str) -> bytes:
    """Return the content of a file. Raises OSError."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return read_all(fd)
    finally:
        os.close(fd)


def read_private(path: str) -> bytes:
    """Return the content of a file that only our user can read. Raises StartError for any other, OSError for none."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        facts = os.fstat(fd)
        if facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
            raise StartError("spec", "The job's specification is not private to the user.")
        return read_all(fd)
    finally:
        os.close(fd)


def make_private(folder: str) -> None:
    """Make the folder 0700, or check that the existing one is ours and that no other user can open it."""
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass
    except FileNotFoundError:
        os.makedirs(os.path.dirname(folder), 0o700)
        os.mkdir(folder, 0o700)
    facts = os.lstat(folder)
    if not stat.S_ISDIR(facts.st_mode):
        raise StartError("folder", "The job's folder %s is not a folder." % folder)
    if facts.st_uid != os.geteuid():
        raise StartError("folder", "The job's folder %s belongs to another user." % folder)
    if facts.st_mode & 0o077:
        os.chmod(folder, 0o700)
        if os.lstat(folder).st_mode & 0o077:
            raise StartError("folder", "The job's folder %s cannot be made private." % folder)
    above = os.lstat(os.path.dirname(folder) or "/")
    if above.st_mode & 0o002 and not above.st_mode & stat.S_ISVTX:
        raise StartError("folder", "Every user can write to the folder above %s." % folder)


def write_all(fd: int, content: bytes) -> None:
    """Write the whole content, because a nearly full disk accepts only part of it. Raises OSError."""
    while content:
        content = content[os.write(fd, content) :]


def write_atomically(path: str, text: str) -> None:
    """Replace the file in one step: a reader sees the old content or the new one, never half. Raises OSError.

    Either the write or (NFS) the close may report a full disk or quota.
    """
    temporary = "%s.%d" % (path, os.getpid())
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            write_all(fd, text.encode("utf-8"))
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError:
        remove(temporary)
        raise


def remove(path: str) -> None:
    """Remove the file, if it exists and can be removed."""
    try:
        os.unlink(path)
    except OSError:
        pass
