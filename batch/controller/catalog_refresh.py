"""Refreshes the catalogs: what each cluster has is gathered when a form needs it, and kept in Redis for all gateways.

Owns how often, and what a failure means. Does not know what a catalog contains or who reads it: gateways leave a
request in Redis when a form shows an old catalog. It runs next to the polls, in the leader's term, under its fencing
token. A cluster that does not answer keeps its last catalog, whose `time` shows its age.
"""

import asyncio
import contextlib
import logging
from typing import Final

from msgspec.structs import replace

from batch.contract import Launcher, LauncherError
from state.config.tables import ClusterConfig
from state.errors import FencedError, StateUnavailableError
from state.plugins.launchers import kind_of, options_of
from state.store.catalogs import Catalogs

log = logging.getLogger("towpath.catalog")

FIRST_BACK_OFF: Final = 5.0
LONGEST_BACK_OFF: Final = 300.0
UNASKED: Final = 10
"""A catalog that nobody requests is refreshed after this many times `catalog_seconds`."""
WISH_SECONDS: Final = 0.5
"""How often Redis is checked for requests."""


async def refresh(
    store: Catalogs, cluster: ClusterConfig, launcher: Launcher, *, fence: int, again: asyncio.Event | None = None
) -> None:
    """Gather one cluster's catalog whenever requested, until cancelled. Raises FencedError for a former leader.

    `again` is set when the cluster answers after an outage: then its catalog is refreshed immediately.
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
        except Exception as error:  # a launcher from a plug-in may break its contract
            failures += 1
            if isinstance(error, (LauncherError, StateUnavailableError)):
                log.warning("The catalog was not refreshed cluster=%s reason=%s", cluster.name, error)
            else:
                log.exception("The launcher broke its contract cluster=%s", cluster.name)
        else:
            failures = 0
        loop = asyncio.get_running_loop()
        end = loop.time() + pause(failures, UNASKED * kind_of(cluster).catalog_seconds(options_of(cluster)))
        while (left := end - loop.time()) > 0 and not again.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, WISH_SECONDS)):
                    await again.wait()
                    failures = 0
            # After a failure, requests do not make it more frequent.
            if failures == 0 and await _is_requested(store, cluster.name):
                break


async def _is_requested(store: Catalogs, cluster: str) -> bool:
    try:
        return await store.take_request(cluster)
    except StateUnavailableError:
        return False


def pause(failures: int, every: float) -> float:
    """Return the seconds until the next attempt.

    They are few after the first failures, so that a new hub has its form soon.
    """
    return every if failures == 0 else min(FIRST_BACK_OFF * 2.0 ** (failures - 1), max(every, LONGEST_BACK_OFF))
