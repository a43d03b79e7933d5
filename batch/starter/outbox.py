"""The reports that must still be sent, in order, with pauses while the hub does not answer."""

import time

from batch.starter.reporter import jittered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from batch.starter.reporter import Reporter

MAX_WAITING = 50
"""How many reports are kept for a hub that is away for long. Later ones are dropped."""


class Outbox:
    """Sends one report at a time. `regular` is sent again every `repeat` seconds (0: never)."""

    def __init__(self, reporter: "Reporter", send: "Callable[[str], bool]", regular: str, repeat: float) -> None:
        """`send` returns whether the report need not be sent again."""
        self.reporter = reporter
        self.send = send
        self.regular = regular
        self.repeat = repeat
        self.waiting = [regular]
        self.latest = ""
        self.next_send = 0.0

    def put(self, report: str) -> None:
        """Add a report."""
        if not self.waiting:
            self.next_send = 0.0
        if len(self.waiting) < MAX_WAITING:
            self.waiting.append(report)

    def put_latest(self, report: str) -> None:
        """Add a report that replaces the earlier one of this kind, if that was not sent yet."""
        if self.latest in self.waiting:
            self.waiting[self.waiting.index(self.latest)] = report
        else:
            self.put(report)
        self.latest = report

    def end_pause(self) -> None:
        """End a pause early."""
        self.next_send = 0.0

    def step(self, now: float) -> bool:
        """Send what is due; return whether there was something."""
        if now < self.next_send or not (self.waiting or self.repeat):
            return False
        if not self.waiting:
            self.waiting.append(self.regular)
        if self.send(self.waiting[0]):
            del self.waiting[0]
            self.reporter.reset_back_off()
            self.next_send = 0.0 if self.waiting else time.monotonic() + jittered(self.repeat)
        else:
            self.next_send = time.monotonic() + self.reporter.back_off()
        return True

    def times(self) -> "list[float]":
        """Return when to send again."""
        return [self.next_send] if self.waiting or self.repeat else []
