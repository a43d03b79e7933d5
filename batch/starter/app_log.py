"""The app's log file: opened, also written to by the starter, kept within its size, read at its end.

Nothing here raises: on a full disk the log is incomplete, and the app keeps running.
"""

import os

from batch.starter.files import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable, Sequence

TAIL_BYTES = 4096  # of the log, in a report
MAX_BYTES = 16 * 1024 * 1024
FAST_BYTES = 1024 * 1024  # a log that grows this much between two checks is checked more often
FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
MEMORY = "/dev/shm"  # noqa: S108 - the file there has no name


class AppLog:
    """`app.log` in the job's folder. While it is not open nothing is written, and the tail is empty."""

    def __init__(self, max_bytes: int = MAX_BYTES, job: str = "") -> None:
        """`job`: the scheduler's id of the job, for the starter's own lines."""
        self.mark = "[towpath job=%s] " % job if job else "[towpath] "
        self.fd = -1
        self.path = ""  # while it is not in a file
        self.max_bytes = max_bytes
        self.size = 0  # when it was last checked
        self.fault: "OSError | None" = None  # the last write that failed

    def open(self, folders: "Sequence[str]") -> None:
        """Open the file for appending, 0600, in the first folder that is writable; else in memory, else not at all."""
        for folder in folders:
            path = os.path.join(folder, "app.log")
            try:
                self.fd = os.open(path, FLAGS, 0o600)
                self.path = path
                return
            except OSError as error:
                self.fault = error
        try:
            self.fd = os.open(MEMORY, os.O_RDWR | os.O_APPEND | os.O_TMPFILE, 0o600)
        except OSError:
            self.fd = os.open(os.devnull, os.O_RDWR)

    def note(self, text: str) -> None:
        """Write a line of the starter's own."""
        self.write((self.mark + text + "\n").encode("utf-8", "replace"))

    def write(self, content: bytes) -> None:
        """Write as much as there is room for."""
        if self.fd >= 0:
            try:
                write_all(self.fd, content)
            except OSError as error:
                self.fault = error

    def length(self) -> int:
        """Return the size of the file in bytes."""
        try:
            return os.fstat(self.fd).st_size if self.fd >= 0 else 0
        except OSError:
            return 0

    def read(self, size: int, offset: int) -> bytes:
        """Return bytes of the file; none if it cannot be read."""
        try:
            return os.pread(self.fd, size, offset) if self.fd >= 0 else b""
        except OSError:
            return b""

    def cap(self) -> bool:
        """Cut a log over its limit to its last quarter; return whether it grows fast.

        The app writes to the file itself (in append mode), so that it outlives the starter. A few lines that are
        written during the cut are lost.
        """
        size = self.length()
        fast = size - self.size > FAST_BYTES
        if size > self.max_bytes:
            keep = self.read(self.max_bytes // 4, size - self.max_bytes // 4)
            try:
                os.ftruncate(self.fd, 0)
            except OSError as error:
                self.fault = error
                return fast
            self.note("The log was longer than %d bytes: what came before this line was removed." % self.max_bytes)
            self.write(keep)
            size = self.length()
        self.size = size
        return fast

    def tail(self, secrets: "Iterable[str]") -> str:
        """Return the end of the log as text, without the secrets."""
        encoded = [secret.encode("utf-8") for secret in secrets if secret]
        room = TAIL_BYTES + max([len(secret) for secret in encoded] + [0])
        text = self.read(room, max(0, self.length() - room))
        for secret in encoded:
            text = text.replace(secret, b"[secret]")
        return text[-TAIL_BYTES:].decode("utf-8", "replace")
