"""The controller: waits for the lease, leads while it has it, and gives it back.

Owns: terms of leadership, one after the other. Refuses to know what a term does (`batch.controller.leader`).
"""

import asyncio
import contextlib
import logging
from typing import Final

from batch.controller.leader import LEASE_SECONDS, LeaseLostError, Means, Term
from state.errors import StateUnavailableError
from state.store.health import LEASE

log = logging.getLogger("towpath.controller")

STANDBY_SECONDS: Final = 1.0


async def lead(means: Means, holder: str) -> None:
    """Stand by, lead, stand by again, until cancelled. A cancelled leader releases the lease; jobs run on."""
    while True:
        fence = await _take(means, holder)
        log.info("Leading, with fencing token %d.", fence)
        try:
            await Term(means, holder=holder, fence=fence).run()
        except LeaseLostError as error:
            log.warning("Not leading any more: %s", error)
            await asyncio.sleep(STANDBY_SECONDS)
        finally:
            with contextlib.suppress(StateUnavailableError):
                await means.store.leases.release(LEASE, holder, fence)


async def _take(means: Means, holder: str) -> int:
    while True:
        try:
            fence = await means.store.leases.take(LEASE, holder, seconds=LEASE_SECONDS)
        except StateUnavailableError as error:
            log.warning("%s", error)
            fence = None
        if fence is not None:
            return fence
        await asyncio.sleep(STANDBY_SECONDS)
