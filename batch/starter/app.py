"""The app's process: started in a session of its own, signalled, reaped, ended."""

import _signal
import os
import time

from batch.starter.files import read_all
from batch.starter.processes import is_alive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGCHLD", "SIGPIPE", "SIGXFSZ")
"""Signals that the app has at their defaults."""
REPEATED_SECONDS = 2.0
"""Seconds in which several requests to end count as one.

A scheduler signals every process of a job, and the guard passes its signal on to the starter as well.
"""


class App:
    """One app. Its pid is also its session and its process group."""

    longest_sleep = 60.0  # seconds; the end of a child also ends a wait

    def __init__(self, grace: float) -> None:
        """`grace`: seconds between the request to end and SIGKILL."""
        self.grace = grace
        self.pid = 0  # 0: it was not started
        self.ended = False
        self.exit_code: "int | None" = None  # of an app that has ended; None: not known
        self.stop_signal = 0
        self.stop_since: "float | None" = None
        self.killed = False

    def execute(
        self,
        command: "list[str]",
        environment: "dict[str, str]",
        directory: str,
        log: int,
        enter: "Callable[[], None] | None" = None,
    ) -> str:
        """Fork and exec, with only the log as output; returns `""`, or why the app could not be executed.

        `enter` is called in the forked process, to put the app into namespaces.
        """
        null = os.open(os.devnull, os.O_RDONLY)
        failure, report = os.pipe()  # closed by the exec; otherwise it carries the error
        starter = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                _signal.set_wakeup_fd(-1)
                for name in SIGNALS:
                    _signal.signal(getattr(_signal, name), _signal.SIG_DFL)
                os.setsid()
                os.dup2(null, 0)
                os.dup2(log, 1)
                os.dup2(log, 2)
                if enter is not None:
                    enter()
                os.chdir(directory)
                if (
                    os.getppid() == starter
                ):  # otherwise the starter was killed, and another one may have started the app again
                    os.execvpe(command[0], command, environment)
            except BaseException as error:
                why = "%s: %s" % (command[0], getattr(error, "strerror", None) or error)
                os.write(report, why.encode("utf-8", "replace"))
            finally:
                os._exit(127)
        self.pid = pid
        os.close(null)
        os.close(report)
        why = read_all(failure).decode("utf-8", "replace")
        os.close(failure)
        return why

    def signal(self, number: int) -> None:
        """Signal the app's process group, if the app has not ended."""
        if self.pid and not self.ended:
            try:
                os.killpg(self.pid, number)
            except OSError:
                pass

    def begin_stop(self, number: int) -> None:
        """Ask the app to end; `has_ended` kills it after the grace."""
        now = time.monotonic()
        if self.stop_since is not None and number == self.stop_signal and now - self.stop_since < REPEATED_SECONDS:
            return
        self.stop_signal = number
        if self.stop_since is None:
            self.stop_since = now
        self.signal(number)

    def has_ended(self) -> bool:
        """Return whether the app has ended. An app that was asked to end is killed after the grace."""
        if not self.ended and self.pid:
            self.ended = self.reap()
            if not self.ended and self.stop_since is not None and not self.killed:
                waited = time.monotonic() - self.stop_since
                if waited > self.grace:
                    self.killed = True
                    self.signal(_signal.SIGKILL)
                elif self.stop_signal == _signal.SIGINT and waited > self.grace / 2:
                    self.stop_signal = _signal.SIGTERM
                    self.signal(_signal.SIGTERM)
        return self.ended

    def reap(self) -> bool:
        """Return whether the app has ended by now. Its exit code is 128 + signal if a signal ended it."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self.exit_code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        return pid != 0

    def end(self, sleep: "Callable[[float], None]") -> None:
        """End an app that did not start properly: ask it first, and kill it after the grace."""
        if not self.pid:
            return
        if not self.has_ended():
            if self.stop_since is None:
                self.stop_since = time.monotonic()
                self.signal(_signal.SIGTERM)
            while not self.has_ended():
                sleep(0.1)
        self.sweep()
        if not self.stop_signal:
            self.stop_since = None
            self.killed = False

    def forget(self) -> None:
        """Prepare for another start, after `end`."""
        self.pid = 0
        self.ended = False
        self.exit_code = None

    def sweep(self) -> None:
        """Kill what is left in the app's process group after its end."""
        try:
            os.killpg(self.pid, _signal.SIGKILL)
        except OSError:
            pass


class AdoptedApp(App):
    """An app that an earlier starter has started.

    It is not a child of this process, so its exit code cannot be known.
    """

    longest_sleep = 1.0

    def __init__(self, grace: float, pid: int, start: int) -> None:
        """`start`: when the app began (proc(5), field 22)."""
        App.__init__(self, grace)
        self.pid = pid
        self.start = start

    def reap(self) -> bool:
        """Return whether the app has ended by now."""
        return not is_alive(self.pid, self.start)
