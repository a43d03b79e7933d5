"""Whether a connection has stalled. Pure, except that it remembers the last check."""

from gateway.wire.limits import ConnectionLimits
from gateway.wire.stages import TIME_LIMIT, Stage


class Progress:
    """Call `begin` with each stage, and `stalled` about once a second."""

    __slots__ = ("_moved", "_unsent", "since")

    def __init__(self) -> None:
        self.since = 0.0  # when the stage began, or something last moved
        self._moved = 0
        self._unsent = 0

    def stalled(
        self, now: float, stage: Stage, limits: ConnectionLimits, *, moved: int, unsent: int, write_paused: bool
    ) -> bool:
        """Return whether the client has not done in time what the connection waits for.

        `moved`: bytes of the request's body so far; negative: nothing is expected of it. `unsent`: bytes of the
        response that wait for the client. `write_paused`: the response is paused until the client reads them.
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
