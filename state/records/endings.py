"""The messages that say why a server ended, for the hub and the controller.

Pure. The hub learns of an end from the starter's report, the controller from the scheduler; the messages are the same.
"""

import signal
from typing import Final

from msgspec.structs import replace

from state.records.models import Reason, Status

STOPPED: Final = Reason(code="stopped", message="The server was stopped.")
SEE_LOG: Final = "The end of the log is below. Start it again, or change your request."
KILLED: Final = "It was killed, usually because it ran out of memory. The end of the log is below."
START_AGAIN: Final = "Start the server again."
CANCELLED: Final = Reason(code="cancelled", message="The job was cancelled outside the hub.", hint=START_AGAIN)


def app_ended(*, was_ready: bool, exit_code: int | None, log_tail: str, failed: bool = False) -> tuple[Status, Reason]:
    """Return the status and the reason when an app ended, and neither the starter nor the scheduler knows more.

    `failed`: the starter gave up, so that exit code 0 is no ordinary end.
    """
    if was_ready and exit_code == 0 and not failed:
        return Status.STOPPED, Reason(code="app-ended", message="The app exited.", exit_code=0)
    what = "The app exited unexpectedly" if was_ready else "The app exited before it was ready"
    return Status.FAILED, Reason(
        code="app-died" if was_ready else "app-exited",
        message=f"{what}{exit_text(exit_code)}.",
        hint=KILLED if signal_of(exit_code) == signal.SIGKILL else SEE_LOG,
        log_tail=log_tail,
        exit_code=exit_code,
    )


def exit_text(code: int | None) -> str:
    """Return an exit code in brackets, with the signal's name if it is one: ` (exit code 139: SIGSEGV)`."""
    if code is None:
        return ""
    number = signal_of(code)
    if number is None:
        return f" (exit code {code})"
    return f" (ended by {number.name})" if code < 0 else f" (exit code {code}: {number.name})"


def signal_of(code: int | None) -> signal.Signals | None:
    """Return the signal that an exit code stands for (-9 and 137 are SIGKILL), or None."""
    if code is None:
        return None
    try:
        return signal.Signals(-code if code < 0 else code - 128)
    except ValueError:
        return None


def as_told_to(reason: Reason | None, *, owner: str, viewer: str) -> Reason | None:
    """Return the reason as `viewer` reads it: a user who cancelled their own job reads "You cancelled ..."."""
    by_owner = f"{owner} cancelled "
    if reason is None or viewer != owner or not reason.message.startswith(by_owner):
        return reason
    return replace(reason, message=f"You cancelled {reason.message.removeprefix(by_owner)}")
