"""Starting the app, and waiting until it accepts requests."""

import time

from batch.starter.errors import StartError
from batch.starter.probe import answers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from batch.starter.app import App
    from batch.starter.app_address import AppAddress

FIRST_PROBE = 0.01  # seconds; short at first, so that a fast app is noticed soon
LONGEST_PROBE = 0.1
CANCELLED = "The job was cancelled before the app answered."


def launch(app: "App", address: "AppAddress", directory: str, log: int, sleep: "Callable[[float], None]") -> None:
    """Start the app. Raises StartError."""
    if app.stop_signal:
        raise StartError("stopped", "The job was cancelled before the app was started.")
    why = app.execute(address.command(), address.environment(), directory, log, enter=address.enter())
    if why:
        app.end(sleep)
        raise StartError("command", "The app cannot be started: %s." % why)


def wait_until_it_answers(
    app: "App", address: "AppAddress", spec: "dict[str, Any]", sleep: "Callable[[float], None]"
) -> bool:
    """Return True once it accepts requests, False if it lost its port.

    Raises StartError if it ends, is too slow, or has to stop.
    """
    limit = time.monotonic() + spec["start_window"]
    pause = FIRST_PROBE
    while True:
        sleep(pause)
        if app.ended and not app.stop_signal:
            if address.is_lost():
                return False
            how = "" if app.exit_code is None else " with exit code %d" % app.exit_code
            raise StartError("exited", "The app ended%s before it answered." % how)
        if app.stop_signal:
            raise StartError("stopped", CANCELLED)
        if answers(address.endpoint, spec["base_path"]) and not app.has_ended():
            return address.is_ours()
        if time.monotonic() > limit:
            raise StartError("no-answer", "The app did not answer within %d seconds." % spec["start_window"])
        pause = min(pause * 1.5, LONGEST_PROBE)
