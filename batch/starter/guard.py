"""The process that watches the starter: if the starter dies, another one takes over the app.

A scheduler that runs a batch script ends the job, and the app with it, when that process ends. So the process that the
scheduler knows does next to nothing, and the starter is its child. It uses little memory and has no connections, so
that little can go wrong in it.
"""

import _signal
import os
import time

from batch.starter.json_text import loads
from batch.starter.processes import find_app, start_time
from batch.starter.wakeup import SIGNALS, hold_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, Callable

MAX_TAKEOVERS = 5


def watch(spec: "dict[str, Any]", run: "Callable[[dict[str, Any]], int]") -> int:
    """Run the starter (`run`) in a child, and again after each premature death. Return its exit code."""
    spec["began"] = time.time()
    spec["takeover"] = 0
    spec["watcher"] = os.getpid()
    signals = Signals()
    while True:
        code = run_once(spec, run, signals)
        if code is not None:
            return code
        spec["takeover"] += 1
        app = app_of(spec)
        if app is None:
            spec.pop("adopt", None)
        else:
            spec["adopt"] = {"pid": app[0], "start": app[1]}
        if spec["takeover"] > MAX_TAKEOVERS:
            spec["give_up"] = True
        if spec["takeover"] > MAX_TAKEOVERS + 1:
            return 1


class Signals:
    """Passes the scheduler's signals on to the starter. A request to end also reaches the starter that takes over."""

    def __init__(self) -> None:
        self.pid = 0
        self.end = 0  # the last request to end
        for number in SIGNALS:
            _signal.signal(number, self.pass_on)

    def pass_on(self, number: int, frame: "FrameType | None") -> None:
        """Handle a signal."""
        if number != _signal.SIGUSR1:
            self.end = number
        if self.pid:
            send(self.pid, number)

    def start(self, pid: int) -> None:
        """Forward signals to this starter from now on, and unblock them."""
        self.pid = pid
        if self.end:
            send(pid, self.end)
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, SIGNALS)


def send(pid: int, number: int) -> None:
    """Signal a process, if it exists."""
    try:
        os.kill(pid, number)
    except OSError:
        pass


def run_once(spec: "dict[str, Any]", run: "Callable[[dict[str, Any]], int]", signals: Signals) -> "int | None":
    """Return the starter's exit code; None: it died before its end."""
    done, tell = os.pipe()  # an exit code alone does not show whether the starter finished
    hold_signals()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(done)
            code = run(spec)
            os.write(tell, b"end")
        except BaseException:
            import sys

            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    os.close(tell)
    signals.start(pid)
    status = os.waitpid(pid, 0)[1]
    signals.pid = 0
    os.set_blocking(done, False)  # helpers of a starter that was killed may keep the other end open for a moment
    try:
        ended = os.read(done, 3) == b"end"
    except BlockingIOError:
        ended = False
    os.close(done)
    return os.WEXITSTATUS(status) if ended and os.WIFEXITED(status) else None


def app_of(spec: "dict[str, Any]") -> "tuple[int, int] | None":
    """Return pid and start time of the app that a starter has started, running or not; None: it was never started."""
    from batch.starter.files import read_file

    pid = find_app(spec["attempt"])
    if pid:
        return pid, start_time(pid)
    try:
        note = loads(read_file(os.path.join(spec["folder"], "job.json")).decode("utf-8"))
        if note["attempt"] == spec["attempt"] and note["app"] and note["pid"] == os.getpid():
            return note["app"], note["app_start"]
    except (OSError, ValueError, KeyError):
        pass
    return None
