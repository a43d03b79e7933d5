"""Waits for a time or a signal, whichever comes first."""

import _signal
import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Callable

    Handler = Callable[[int, "FrameType | None"], None]

SIGNALS = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP, _signal.SIGUSR1)
"""The signals that a scheduler, the launcher or a user sends."""


def hold_signals() -> None:
    """Block signals until `Wakeup.take_signals`: an earlier one would end the process, or be lost."""
    _signal.pthread_sigmask(_signal.SIG_BLOCK, SIGNALS)


class Wakeup:
    """A pipe to which the interpreter writes a byte for every signal that has a handler."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()
        os.set_blocking(self.read, False)
        os.set_blocking(self.write, False)

    def take_signals(self, on_end: "Handler", on_warning: "Handler") -> None:
        """Handle the signals that a scheduler or a user sends, and the end of children."""
        _signal.set_wakeup_fd(self.write)
        for number in (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP):
            _signal.signal(number, on_end)
        _signal.signal(_signal.SIGUSR1, on_warning)
        _signal.signal(_signal.SIGCHLD, lambda number, frame: None)
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, SIGNALS)

    def leave_signals(self) -> None:
        """Ignore signals in a child that is not the app: a scheduler's signals to the whole job are not for it."""
        _signal.set_wakeup_fd(-1)
        os.close(self.read)
        os.close(self.write)
        for number in SIGNALS:
            _signal.signal(number, _signal.SIG_IGN)
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)

    def wait(self, seconds: float) -> None:
        """Sleep until a signal comes, or for this long."""
        try:
            select.select([self.read], [], [], seconds)
            os.read(self.read, 512)
        except OSError:
            pass
