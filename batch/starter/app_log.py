"""The app's log file: opened, written to by the starter too, kept within its size, read at its end."""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable

TAIL_BYTES = 4096  # of the log, in a report
MAX_BYTES = 16 * 1024 * 1024
FAST_BYTES = 1024 * 1024  # a log that grows so much between two looks is looked at more often


class AppLog:
    """`app.log` in the job's folder. Without a file (it is not open yet) nothing is written, and the tail is empty."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.fd = -1
        self.max_bytes = max_bytes
        self.size = 0  # when it was last looked at

    def open(self, folder: str) -> None:
        """Open the file for appending, 0600. Raises OSError."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        self.fd = os.open(os.path.join(folder, "app.log"), flags, 0o600)

    def note(self, text: str) -> None:
        """Write a line of our own."""
        if self.fd >= 0:
            os.write(self.fd, ("[towpath] " + text + "\n").encode("utf-8", "replace"))

    def cap(self) -> bool:
        """Cut a log that has grown over its limit down to its last quarter; whether it grows fast.

        The app writes to the file itself (in append mode), so that it outlives the starter; a few lines that are
        written in the middle of the cut are lost.
        """
        size = os.fstat(self.fd).st_size
        fast = size - self.size > FAST_BYTES
        if size > self.max_bytes:
            keep = os.pread(self.fd, self.max_bytes // 4, size - self.max_bytes // 4)
            os.ftruncate(self.fd, 0)
            self.note("The log was longer than %d bytes: what came before this line was removed." % self.max_bytes)
            os.write(self.fd, keep)
            size = os.fstat(self.fd).st_size
        self.size = size
        return fast

    def tail(self, secrets: "Iterable[str]") -> str:
        """The end of the log as text, without the secrets."""
        if self.fd < 0:
            return ""
        encoded = [secret.encode("utf-8") for secret in secrets if secret]
        room = TAIL_BYTES + max([len(secret) for secret in encoded] + [0])
        size = os.fstat(self.fd).st_size
        text = os.pread(self.fd, room, max(0, size - room))
        for secret in encoded:
            text = text.replace(secret, b"[secret]")
        return text[-TAIL_BYTES:].decode("utf-8", "replace")
