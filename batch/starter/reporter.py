"""The reports to the hub: their content, and how they are sent (docs/architecture.md has the protocol)."""

import os
import time

from batch.starter.hub_client import post
from batch.starter.json_text import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from batch.starter.proxy_head import Upstream

FIRST_RETRY = 0.25
LONGEST_RETRY = 30.0
STOP_STATUSES = ("404", "409")
REPEAT_JITTER = 0.2
NO_LIMIT = 364 * 86400  # Slurm says of a job without a time limit that it ends a year after its start

KINDS_WITH_LOG = ("running", "ready", "ended", "failed")
MAX_PATH = 1000

RECEIVED, NOT_RECEIVED, STOP = range(3)
"""The result of a report: it need not be sent again; it must be; the hub wants the app to end."""


def jittered(seconds: float) -> float:
    """Return about this many seconds, so that a thousand jobs do not report at the same moment."""
    return seconds * (1 + REPEAT_JITTER * (os.urandom(1)[0] / 127.5 - 1))


class Reporter:
    """Builds and sends the reports of one job."""

    def __init__(self, spec: "dict[str, Any]") -> None:
        self.spec = spec
        self.began: float = spec.get("began") or time.time()
        self.retry = FIRST_RETRY
        self.log_path = ""  # of the app's whole log
        self.authority: str = (spec.get("passport") or {}).get("authority", "")

    def build(self, kind: str, more: "dict[str, Any]") -> str:
        """Return the JSON text of a report."""
        spec = self.spec
        report = {
            "user": spec["user"], "server": spec["server"], "attempt": spec["attempt"], "kind": kind,
            "time": time.time(),
        }  # fmt: skip
        if spec.get("takeover"):
            report["takeover"] = spec["takeover"]
        if self.log_path and kind in KINDS_WITH_LOG:
            report["log"] = self.log_path[:MAX_PATH]
        restart = os.environ.get("SLURM_RESTART_COUNT", "")
        if restart.isdigit() and restart != "0":
            report["restart"] = int(restart)
        report.update(more)
        return dumps(report)

    def running(self) -> str:
        """Return the report that the job runs, and where."""
        more = {
            "node": os.environ.get("SLURMD_NODENAME") or os.uname().nodename,
            "native_id": os.environ.get("SLURM_JOB_ID", ""),
        }
        more.update(self.end_time())
        return self.build("running", more)

    def end_time(self) -> "dict[str, Any]":
        """Return when the scheduler will end the job: from newer Slurm, or from the requested time limit."""
        end = os.environ.get("SLURM_JOB_END_TIME", "")
        if end.isdigit():
            return {"ends": int(end)} if int(end) < self.began + NO_LIMIT else {}
        limit = self.spec.get("walltime") or 0
        return {"ends": int(self.began + limit)} if limit else {}

    def seconds_left(self) -> int:
        """Return about how long the job can still run, when the scheduler has warned of its end."""
        end = os.environ.get("SLURM_JOB_END_TIME", "")
        return max(0, int(end) - int(time.time()) if end.isdigit() else self.spec.get("warning_seconds") or 0)

    def send(self, report: str) -> int:
        """Try each of the hub's addresses once. Return RECEIVED, NOT_RECEIVED or STOP."""
        for url in self.spec["hub_urls"]:
            if url[:8] != "https://" and not self.spec.get("plain_reports", True):
                continue  # others on the network could read the token
            try:
                status, body = post(url, self.spec["report_token"], report, self.authority, self.proxy(url))
            except (OSError, ValueError):
                continue
            if status[:1] == "2":
                return RECEIVED
            if status in STOP_STATUSES and b'"stop":true' in b"".join(body.split()):
                return STOP
            if status == "409":
                return RECEIVED
        return NOT_RECEIVED

    def proxy(self, url: str) -> "Upstream | None":
        """Return the node's proxy for the hub, if that is the way on which the hub reaches the app, too."""
        if self.spec.get("way_in") != "reverse":
            return None
        from batch.starter.hub_upgrade import hub_proxy

        return hub_proxy(url, self.spec["environment"])

    def reset_back_off(self) -> None:
        """Begin again with short pauses."""
        self.retry = FIRST_RETRY

    def back_off(self) -> float:
        """Return the next pause in seconds: doubled each time, with jitter."""
        pause = self.retry * (0.5 + os.urandom(1)[0] / 255.0)
        self.retry = min(self.retry * 2, LONGEST_RETRY)
        return pause
