"""What clusters offer to one user, read from the store for a form or a start.

Owns how `state.offer.combinations.Facts` is read from the store, and requests for a newer catalog. Does not know about
forms and how a catalog is collected.
"""

import asyncio
from collections.abc import Iterable

from portal.site.site import Site
from state.offer.catalog import Catalog, Grants
from state.offer.combinations import NOTHING_KNOWN, Facts
from state.plugins.launchers import cluster_named, kind_of, options_of
from state.records.health import CLUSTER_SILENT
from state.records.models import User

OLD_SECONDS = 300.0
"""Seconds after which a catalog is old, for any interval between updates."""
PATIENCE_SECONDS = 1.5
"""Seconds for which a request waits for a newer catalog. An update takes about a third of a second."""
LOOK_SECONDS = 0.1


async def facts_of(site: Site, cluster: str, user: User) -> Facts:
    """Return what a cluster has and what this user may use. Raises StateUnavailableError.

    If the catalog is older than `catalog_seconds`, an update is requested and awaited briefly, unless the last one
    did not come in time either: a cluster that does not answer makes no page wait.
    """
    configured = cluster_named(site.config, cluster)
    if configured is not None and not kind_of(configured).option_kinds:
        return NOTHING_KNOWN
    catalogs = site.store.catalogs
    catalog, grants = await asyncio.gather(catalogs.catalog(cluster), catalogs.grants(cluster, user.name))
    if catalog is not None and not is_young(site, cluster, catalog):
        await catalogs.ask(cluster)
        if site.late_catalogs.may_wait(cluster):
            known, catalog = catalog, await _younger(site, cluster, catalog)
            site.late_catalogs.note(cluster, late=catalog is known)
            grants = await catalogs.grants(cluster, user.name)
    return Facts(catalog=catalog, grants=grants or Grants(), user=user.name)


def silent_clusters(site: Site) -> frozenset[str]:
    """Return the clusters that have not answered for a minute."""
    silent = {problem.part for problem in site.health.problems if problem.code == CLUSTER_SILENT}
    return frozenset(cluster.name for cluster in site.config.cluster if f"cluster {cluster.name}" in silent)


async def facts_for_all(site: Site, clusters: Iterable[str], user: User) -> dict[str, Facts]:
    """Return the same for each of these clusters."""
    names = list(dict.fromkeys(clusters))
    found = await asyncio.gather(*(facts_of(site, name, user) for name in names))
    return dict(zip(names, found, strict=True))


async def _younger(site: Site, cluster: str, known: Catalog) -> Catalog:
    """Return the next catalog, or after a time-out the known one. Its time shows which one it is."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE_SECONDS
    while loop.time() < end:
        await asyncio.sleep(LOOK_SECONDS)
        found = await site.store.catalogs.catalog(cluster)
        if found is not None and found.time > known.time:
            return found
    return known


def is_young(site: Site, cluster: str, catalog: Catalog) -> bool:
    """Return whether a catalog is recent enough to be shown without an update."""
    return site.clock() - catalog.time <= _interval(site, cluster)


def _interval(site: Site, cluster: str) -> float:
    configured = cluster_named(site.config, cluster)
    return 0.0 if configured is None else kind_of(configured).catalog_seconds(options_of(configured))


def is_old(site: Site, cluster: str, time: float) -> bool:
    """Return whether a catalog from this time counts as old."""
    return site.clock() - time > max(OLD_SECONDS, 3 * _interval(site, cluster))
