"""The catalogs' refresh: what each cluster has is gathered when somebody looks, and kept in Redis for all gateways.

Owns: how often, and what a failure means. Refuses to know what a catalog holds, and who looks: gateways leave a wish in
Redis when a form shows a catalog that is no longer young. It runs beside the polls, in the leader's term, under its
fencing token; a cluster that does not answer keeps the catalog it had, whose `time` tells.
"""

import asyncio
import contextlib
import logging
from typing import Final

from msgspec.structs import replace

from batch.contract import Launcher, LauncherError
from state.config.tables import ClusterConfig
from state.errors import FencedError, StateUnavailableError
from state.store.catalogs import Catalogs

log = logging.getLogger("towpath.catalog")

FIRST_BACK_OFF: Final = 5.0
LONGEST_BACK_OFF: Final = 300.0
UNASKED: Final = 10
"""A catalog that nobody looks at is gathered anew after so many times `catalog_seconds`."""
WISH_SECONDS: Final = 0.5
"""So often is Redis asked whether anybody wishes for a younger one."""


async def refresh(
    store: Catalogs, cluster: ClusterConfig, launcher: Launcher, *, fence: int, again: asyncio.Event | None = None
) -> None:
    """Gather one cluster's catalog whenever it is wished for, until cancelled. Raises FencedError for an older leader.

    `again` is set when the cluster answers after it did not: then it is looked at without waiting longer.
    """
    again = again or asyncio.Event()
    failures = 0
    while True:
        again.clear()
        try:
            offer = await launcher.catalog()
            await store.put(replace(offer.catalog, cluster=cluster.name), offer.grants, fence=fence)
        except FencedError:
            raise
        except Exception as error:  # another's launcher may break its word
            failures += 1
            if isinstance(error, (LauncherError, StateUnavailableError)):
                log.warning("The catalog of %s was not refreshed: %s", cluster.name, error)
            else:
                log.exception("The launcher of %s broke its contract.", cluster.name)
        else:
            failures = 0
        loop = asyncio.get_running_loop()
        end = loop.time() + pause(failures, UNASKED * cluster.slurm.catalog_seconds)
        while (left := end - loop.time()) > 0 and not again.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, WISH_SECONDS)):
                    await again.wait()
                    failures = 0
            # One that cannot be had just now is not asked for more often because people wait.
            if failures == 0 and await _wished(store, cluster.name):
                break


async def _wished(store: Catalogs, cluster: str) -> bool:
    try:
        return await store.asked(cluster)
    except StateUnavailableError:
        return False


def pause(failures: int, every: float) -> float:
    """Seconds until the next try: sooner after the first failures, so that a new hub's form does not stay empty."""
    return every if failures == 0 else min(FIRST_BACK_OFF * 2.0 ** (failures - 1), max(every, LONGEST_BACK_OFF))
