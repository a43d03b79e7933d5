"""The controller: waits for the lease, leads while it has it, and releases it.

Owns the sequence of terms of leadership. Does not know what happens in a term (`batch.controller.leader`).
"""

import asyncio
import contextlib
import logging
from typing import Final

from batch.controller.leader import LEASE_SECONDS, Dependencies, LeaseLostError, Term
from state.errors import StateUnavailableError
from state.store.health import LEASE

log = logging.getLogger("towpath.controller")

STANDBY_SECONDS: Final = 1.0


async def lead(dependencies: Dependencies, holder: str) -> None:
    """Stand by and lead in turns, until cancelled. A cancelled leader releases the lease; jobs keep running."""
    while True:
        fence = await _take(dependencies, holder)
        log.info("This controller manages the servers now. fence=%d", fence)
        try:
            await Term(dependencies, holder=holder, fence=fence).run()
        except LeaseLostError as error:
            log.warning("This controller no longer manages the servers. reason=%s", error)
            await asyncio.sleep(STANDBY_SECONDS)
        finally:
            with contextlib.suppress(StateUnavailableError):
                await dependencies.store.leases.release(LEASE, holder, fence)


async def _take(dependencies: Dependencies, holder: str) -> int:
    while True:
        try:
            fence = await dependencies.store.leases.take(LEASE, holder, seconds=LEASE_SECONDS)
        except StateUnavailableError as error:
            log.warning("The store does not answer. reason=%r", str(error))
            fence = None
        if fence is not None:
            return fence
        await asyncio.sleep(STANDBY_SECONDS)
