"""Processes of the starter that serve the app: the way in, and the bridge to an isolated app.

Each is a fork. It ends when the starter's end of its lifeline, a pipe, closes, however the starter ends. A helper that
ends by itself is started again.
"""

import os

from batch.starter.files import read_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

RESTART_PAUSE = 1.0  # seconds before a process that ended by itself is started again
RETRY_PAUSE = 30.0  # seconds after one that could not be started


class Helper:
    """One such process, restarted if it ends."""

    _lifelines: "set[int]" = set()
    """The starter's ends of all lifelines. A helper closes those that it inherits: it must not keep others alive."""

    def __init__(
        self,
        name: str,
        serve: "Callable[[int, Callable[[], None]], None]",
        note: "Callable[[str], None]",
        become_helper: "Callable[[], None]",
    ) -> None:
        """`name` begins a sentence. `serve(lifeline, ready)` runs in the process, and calls `ready` when it is ready.

        `note` writes to the log; `become_helper` is called in the process first.
        """
        self.name = name
        self.serve = serve
        self.note = note
        self.become_helper = become_helper
        self.pid = 0
        self.restart_at = 0.0
        self.lifeline = -1

    def start(self) -> str:
        """Fork the process and wait until it is ready; return `""`, or why it is not."""
        held, self.lifeline = os.pipe()
        failure, ready = os.pipe()
        pid = os.fork()
        if pid == 0:
            unreported = [ready]

            def report_up() -> None:
                os.close(unreported.pop())

            try:
                self.become_helper()
                for fd in (self.lifeline, failure, *self._lifelines):
                    os.close(fd)
                self.serve(held, report_up)
            except BaseException as error:
                why = str(error) or repr(error)
                for fd in unreported:
                    os.write(fd, why.encode("utf-8", "replace"))
                self.note("%s has ended: %s" % (self.name, why))
            finally:
                os._exit(1)
        self._lifelines.add(self.lifeline)
        os.close(held)
        os.close(ready)
        why = read_all(failure).decode("utf-8", "replace")
        os.close(failure)
        self.pid = pid
        return why

    def has_ended(self) -> bool:
        """Return whether the process has ended by itself, and reap it."""
        if self.pid > 0 and os.waitpid(self.pid, os.WNOHANG)[0]:
            self.forget()
        return self.pid == -1

    def look(self, now: float) -> None:
        """Reap the process; start it again if it has ended by itself."""
        if self.pid > 0 and self.has_ended():
            self.restart_at = now + RESTART_PAUSE
        if self.restart_at and now >= self.restart_at:
            self.restart_at = 0.0
            try:
                why = self.start()
            except OSError as error:
                why = str(error)
            if why:
                self.note("%s cannot be opened: %s" % (self.name, why))
                self.restart_at = now + RETRY_PAUSE

    def close(self) -> None:
        """End the process."""
        if self.pid > 0:
            pid = self.pid
            self.forget()
            os.waitpid(pid, 0)

    def forget(self) -> None:
        """Forget the process: it has ended, or will."""
        self.pid = -1
        self._lifelines.discard(self.lifeline)
        os.close(self.lifeline)
