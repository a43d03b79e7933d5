"""Whether a connection stands still for too long. Pure, but for what it remembers from one check to the next."""

from gateway.wire.limits import ConnectionLimits
from gateway.wire.stages import TIME_LIMIT, Stage


class Progress:
    """`begin` with each stage; `stalled` about once a second."""

    __slots__ = ("_moved", "_unsent", "since")

    def __init__(self) -> None:
        self.since = 0.0  # when the stage began, or something last moved
        self._moved = 0
        self._unsent = 0

    def stalled(
        self, now: float, stage: Stage, limits: ConnectionLimits, *, moved: int, unsent: int, write_paused: bool
    ) -> bool:
        """Whether the client has let the time of what it is waited for run out.

        `moved`: bytes of the request's body so far, of which nothing is waited for if it is negative. `unsent`: bytes
        of the response that wait for the client. `write_paused`: the response is stopped until it reads them.
        """
        if (write_paused or stage is Stage.CLOSING) and unsent != self._unsent:
            self._unsent = unsent
            self.since = now
        elif write_paused and stage is not Stage.CLOSING:
            return now - self.since > limits.write_time
        elif stage is Stage.BODY and moved != self._moved:
            self._moved = moved
            self.since = now
        elif stage in TIME_LIMIT and not (stage is Stage.BODY and moved < 0):
            return now - self.since > TIME_LIMIT[stage](limits)
        return False
