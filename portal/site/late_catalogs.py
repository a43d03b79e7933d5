"""Which clusters did not give a newer catalog in time, as this process knows it."""

from collections.abc import Callable
from typing import Final

LATE_SECONDS: Final = 20.0
"""Seconds for which no request waits for a cluster that was late."""


class LateCatalogs:
    """See the module."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def may_wait(self, cluster: str) -> bool:
        """Return whether a request should wait for a newer catalog of this cluster."""
        return self._clock() >= self._until.get(cluster, 0.0)

    def note(self, cluster: str, *, late: bool) -> None:
        """Remember whether a newer catalog came in time."""
        if late:
            self._until[cluster] = self._clock() + LATE_SECONDS
        else:
            self._until.pop(cluster, None)
