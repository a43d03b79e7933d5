"""The app's log file: opened, written to by the starter too, kept within its size, read at its end.

Nothing here raises: on a full disk the log is incomplete, and the app keeps running.
"""

import os

from batch.starter.files import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable, Sequence

TAIL_BYTES = 4096  # of the log, in a report
MAX_BYTES = 16 * 1024 * 1024
FAST_BYTES = 1024 * 1024  # a log that grows so much between two looks is looked at more often
FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
MEMORY = "/dev/shm"  # noqa: S108 - the file there has no name


class AppLog:
    """`app.log` in the job's folder. While it is not open nothing is written, and the tail is empty."""

    def __init__(self, max_bytes: int = MAX_BYTES, job: str = "") -> None:
        """`job`: the scheduler's id of the job, for lines of our own."""
        self.mark = "[towpath job=%s] " % job if job else "[towpath] "
        self.fd = -1
        self.path = ""  # while it is not in a file
        self.max_bytes = max_bytes
        self.size = 0  # when it was last looked at
        self.fault: "OSError | None" = None  # the last write that failed

    def open(self, folders: "Sequence[str]") -> None:
        """Open the file for appending, 0600, in the first folder that takes it; else in memory, else nowhere."""
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
        """Write a line of our own."""
        self.write((self.mark + text + "\n").encode("utf-8", "replace"))

    def write(self, content: bytes) -> None:
        """Write, as far as there is room."""
        if self.fd >= 0:
            try:
                write_all(self.fd, content)
            except OSError as error:
                self.fault = error

    def length(self) -> int:
        """The size of the file in bytes."""
        try:
            return os.fstat(self.fd).st_size if self.fd >= 0 else 0
        except OSError:
            return 0

    def read(self, size: int, offset: int) -> bytes:
        """Bytes of the file; none where it cannot be read."""
        try:
            return os.pread(self.fd, size, offset) if self.fd >= 0 else b""
        except OSError:
            return b""

    def cap(self) -> bool:
        """Cut a log that has grown over its limit down to its last quarter; whether it grows fast.

        The app writes to the file itself (in append mode), so that it outlives the starter; a few lines that are
        written in the middle of the cut are lost.
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
        """The end of the log as text, without the secrets."""
        encoded = [secret.encode("utf-8") for secret in secrets if secret]
        room = TAIL_BYTES + max([len(secret) for secret in encoded] + [0])
        text = self.read(room, max(0, self.length() - room))
        for secret in encoded:
            text = text.replace(secret, b"[secret]")
        return text[-TAIL_BYTES:].decode("utf-8", "replace")
