"""Cancels jobs, each of them at most once in a few seconds."""

import logging
import time
from collections.abc import Callable, Mapping

from batch.contract import LauncherError
from batch.controller.reconcile import Cancel
from batch.controller.watcher import ClusterWatch

log = logging.getLogger("towpath.controller")

CANCEL_EVERY = 5.0


class Cancels:
    """The cancellations of one term."""

    def __init__(self, watches: Mapping[str, ClusterWatch], fault: Callable[[str], None]) -> None:
        self._watches = watches
        self._fault = fault
        self._cancelled: dict[str, float] = {}

    async def cancel(self, action: Cancel) -> bool:
        """Request the end of an attempt's job, unless that was done a moment ago. Return False to retry later."""
        watch = self._watches.get(action.cluster)
        if watch is None or time.monotonic() - self._cancelled.get(action.attempt, -CANCEL_EVERY) < CANCEL_EVERY:
            return True
        self._fault("before-cancel")
        try:
            await watch.launcher.cancel(action.job, action.attempt)
        except LauncherError as error:
            job = action.job.native_id if action.job is not None else "-"
            log.warning("The cancel failed attempt=%s job=%s reason=%s", action.attempt, job, error)
            return False
        now = time.monotonic()
        self._cancelled = {attempt: at for attempt, at in self._cancelled.items() if now - at < CANCEL_EVERY}
        self._cancelled[action.attempt] = now
        self._fault("after-cancel")
        watch.submitted(action.attempt)
        return True
