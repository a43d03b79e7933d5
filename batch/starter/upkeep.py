"""What is looked at every so often while the app runs: the log's size, kills for memory, the user's old jobs."""

import time

from batch.starter import spare_folder
from batch.starter.old_jobs import TOUCH_SECONDS, prune, touch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from batch.starter.app_log import AppLog
    from batch.starter.job_folder import JobFolder
    from batch.starter.notices import Notices

LOOK_SECONDS = 15.0
FAST_LOOK_SECONDS = 2.0


class Upkeep:
    """Of one job."""

    def __init__(self, spec: "dict[str, Any]", folder: "JobFolder", log: "AppLog", notices: "Notices") -> None:
        self.folder = folder
        self.log = log
        self.notices = notices
        self.next_look = self.next_touch = time.monotonic() + FAST_LOOK_SECONDS
        if spec.get("prune"):
            prune(folder.path)
        spare_folder.prune(folder.attempt)

    def reports(self, now: float) -> "list[str]":
        """Look, if it is due; what is to be reported."""
        reports = self.notices.new_faults()
        if now >= self.next_look:
            self.next_look = now + (FAST_LOOK_SECONDS if self.log.cap() else LOOK_SECONDS)
            reports += self.notices.new_kills()
            if now >= self.next_touch:
                self.next_touch = now + TOUCH_SECONDS
                touch(self.folder.path)
        return reports
