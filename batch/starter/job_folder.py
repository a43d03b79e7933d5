"""The job's private folder.

    job.json     who runs the job: pid and start time of the starter (or of its guard) and the app, and the boot id
    report.json  the starter's last report
    app.log      the app's output
    app.sock     the app's socket
    ssh.sock     the socket behind which SSH is served, if it is; its keys are beside it (`batch.starter.ssh_server`)

Where its disk or quota is full, or it cannot be made, socket and log are in a spare folder on the node's own disk, and
what cannot be written is left out: the hub gets reports all the same.
"""

import os
import time

from batch.starter.errors import StartError
from batch.starter.files import make_private, remove, write_atomically
from batch.starter.json_text import dumps
from batch.starter.processes import boot_id, start_time
from batch.starter.spare_folder import SpareFolder

MAX_SOCKET_PATH = 100  # of 108 bytes: some apps append to the name


class JobFolder:
    """See the module."""

    def __init__(self, path: str, attempt: str) -> None:
        self.path = path
        self.attempt = attempt
        self.spare = SpareFolder(attempt)
        self.fault: "OSError | None" = None  # the last write that failed

    def make(self) -> None:
        """Make the folder, or check that it is private. Raises StartError where it is not, or none can be had."""
        try:
            make_private(self.path)
        except OSError as error:
            self.fault = error
            self.make_spare()

    def make_spare(self) -> str:
        """Make the spare folder; its path. Raises StartError."""
        try:
            return self.spare.make()
        except OSError as error:
            raise StartError("folder", "Neither %s nor %s can be used: %s." % (self.path, self.spare.path, error))

    def log_folders(self) -> "list[str]":
        """Where the log goes: the first that takes it."""
        if self.fault is None:
            return [self.path]
        return [self.spare.path] if self.spare.is_made else [self.make_spare()]

    def socket_path(self, name: str = "app.sock") -> str:
        """A path in the folder, or in the spare one where that is too long for a socket (unix(7)) or the disk is full.

        Raises StartError.
        """
        path = os.path.join(self.path, name)
        if self.fault is not None or len(os.fsencode(path)) > MAX_SOCKET_PATH:
            path = os.path.join(self.make_spare(), name)
        remove(path)
        return path

    def note_job(self, pid: int, app: int, takeover: int) -> None:
        """Write down who runs the job: a pid counts with its start time, on this boot. `app` 0: not started yet.

        `pid`: of the process that lives as long as the job. `takeover`: how many starters of this run went before.
        """
        note = {
            "attempt": self.attempt, "pid": pid, "start": start_time(pid), "boot": boot_id(),
            "app": app, "app_start": start_time(app) if app else 0, "time": time.time(),
            "takeover": takeover,
        }  # fmt: skip
        self.write("job.json", dumps(note))

    def write_report(self, report: str) -> None:
        """Keep the last report, which the `local` launcher reads."""
        self.write("report.json", report)

    def write(self, name: str, text: str) -> bool:
        """Write a file, where that can be done; whether it was."""
        try:
            write_atomically(os.path.join(self.path, name), text)
        except OSError as error:
            self.fault = error
            return False
        return True
