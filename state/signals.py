"""The signals that end a process of the hub."""

import signal
from typing import Final

_ALWAYS: Final = (signal.SIGTERM, signal.SIGINT)


def ending_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that end this process gracefully.

    SIGHUP is one of them, because a terminal that closes would otherwise kill the parts of a hub in any order; not
    where it is ignored, as by nohup(1).
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return _ALWAYS
    return (*_ALWAYS, signal.SIGHUP)
