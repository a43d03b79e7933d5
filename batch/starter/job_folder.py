"""The job's private folder.

job.json     who runs the job: pid and start time of starter and app, and the boot id
report.json  the starter's last report
app.log      the app's output
app.sock     the app's socket
"""

import os
import time

from batch.starter.files import make_private, write_atomically
from batch.starter.json_text import dumps
from batch.starter.processes import boot_id, start_time

MAX_SOCKET_PATH = 100  # of 108 bytes: some apps append to the name


class JobFolder:
    """See the module. All but `tidy_up` raise OSError."""

    def __init__(self, path: str, attempt: str) -> None:
        self.path = path
        self.attempt = attempt
        self.short_path = ""  # a folder for the socket alone, where the path in the job's own is too long

    def make(self) -> None:
        """Make the folder, or check that it is private. Raises StartError, too."""
        make_private(self.path)

    def socket_path(self) -> str:
        """A path in the folder, or in a private one of its own where that is too long for a socket (unix(7))."""
        path = os.path.join(self.path, "app.sock")
        if len(os.fsencode(path)) > MAX_SOCKET_PATH:
            self.short_path = "/tmp/towpath-%d-%s" % (os.geteuid(), self.attempt)  # noqa: S108 - private, and checked to be ours
            make_private(self.short_path)
            path = os.path.join(self.short_path, "app.sock")
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        return path

    def note_job(self, app: int) -> None:
        """Write down who runs the job: a pid counts with its start time, on this boot. `app` 0: not started yet."""
        pid = os.getpid()
        note = {
            "attempt": self.attempt, "pid": pid, "start": start_time(pid), "boot": boot_id(),
            "app": app, "app_start": start_time(app) if app else 0, "time": time.time(),
        }  # fmt: skip
        write_atomically(os.path.join(self.path, "job.json"), dumps(note))

    def write_report(self, report: str) -> None:
        """Keep the last report, which the `local` launcher reads."""
        write_atomically(os.path.join(self.path, "report.json"), report)

    def tidy_up(self) -> None:
        """Remove the folder that holds the socket alone."""
        if self.short_path:
            try:
                os.unlink(os.path.join(self.short_path, "app.sock"))
            except OSError:
                pass
            try:
                os.rmdir(self.short_path)
            except OSError:
                pass
