"""When the user of a Jupyter server was last active, or something ran there for them.

One check queries the server's `/api/status`; its `/api/kernels`, if there are kernels; and Linux, whether a terminal
has a program in its foreground. So neither a long cell nor a long program makes a server look idle.

Sources: Jupyter Server 2 (`last_activity` and `no_track_activity` of its REST API), proc(5), setpgid(2).
"""

import os
import time

from batch.starter.files import read_file
from batch.starter.json_text import loads
from batch.starter.probe import get
from batch.starter.processes import ATTEMPT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LOOK_SECONDS = 60.0
SESSION, TTY, FOREGROUND = 3, 4, 5  # fields of /proc/PID/stat after the command


class JupyterActivity:
    """The activity of one server."""

    def __init__(self, spec: "dict[str, Any]", endpoint: "dict[str, Any]") -> None:
        self.attempt = spec["attempt"]
        self.base_path = spec["base_path"]
        self.token = spec["environment"].get("JUPYTER_TOKEN", "")
        self.endpoint = endpoint
        self.every = spec.get("activity_seconds", LOOK_SECONDS)
        self.next_look = time.monotonic() + self.every
        self.last = 0.0

    def look(self, now: float) -> "float | None":
        """Return the new time of the last activity (seconds since the epoch); None: not due, or no change."""
        if now < self.next_look:
            return None
        self.next_look = now + self.every
        try:
            seen = self.last_activity()
        except (OSError, ValueError, KeyError, TypeError):  # busy, or an unexpected answer: the next check may succeed
            return None
        if seen <= self.last:
            return None
        self.last = seen
        return seen

    def last_activity(self) -> float:
        """Query the server. Raises OSError, ValueError, KeyError and TypeError."""
        status = self.ask("api/status")
        seen = seconds(status["last_activity"])
        if status["kernels"]:
            kernels = self.ask("api/kernels")
            if any(kernel["execution_state"] == "busy" for kernel in kernels):
                return time.time()
            seen = max([seen] + [seconds(kernel["last_activity"]) for kernel in kernels])
        return time.time() if has_busy_terminal(self.attempt) else seen

    def ask(self, path: str) -> "Any":
        """Return the response of the server's API. The query itself does not count as activity."""
        body = get(self.endpoint, "%s%s?no_track_activity=1" % (self.base_path, path), self.token)
        return loads(body.decode("utf-8"))


def seconds(text: str) -> float:
    """Return a time as Jupyter writes it (ISO 8601 in UTC) in seconds since the epoch. Raises ValueError."""
    import datetime as dt

    day = dt.date(int(text[:4]), int(text[5:7]), int(text[8:10]))
    hour = dt.time(int(text[11:13]), int(text[14:16]), int(text[17:19]))
    return dt.datetime.combine(day, hour).replace(tzinfo=dt.timezone.utc).timestamp()


def has_busy_terminal(attempt: str) -> bool:
    """Return whether the shell of one of the attempt's terminals waits for a program."""
    mark = ("%s=%s" % (ATTEMPT, attempt)).encode("ascii")
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = read_file("/proc/%s/stat" % name).rsplit(b")", 1)[1].split()
                leads = fields[SESSION] == name.encode("ascii") and fields[TTY] != b"0"
                if not leads or fields[FOREGROUND] in (fields[SESSION], b"-1"):
                    continue
                if mark in read_file("/proc/%s/environ" % name).split(b"\0"):
                    return True
            except (OSError, IndexError):  # another user's, or it has ended
                continue
    return False
