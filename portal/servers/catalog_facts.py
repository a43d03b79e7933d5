"""What is known of the clusters for one person, read from the state when a form or a start asks.

Owns: from the store to `state.offer.combinations.Facts`, and the wish for a younger catalog. Refuses to know forms, and
who gathers.
"""

import asyncio

from portal.site.site import Site
from state.offer.catalog import Catalog, Grants
from state.offer.combinations import NOTHING_KNOWN, Facts
from state.plugins.launchers import cluster_named, kind_of, options_of
from state.records.models import User

OLD_SECONDS = 300.0
"""A catalog of this age is old, whatever the interval at which it is gathered."""
PATIENCE_SECONDS = 1.5
"""For so long somebody who asks waits for a younger catalog: one takes about a third of a second."""
LOOK_SECONDS = 0.1


async def facts_of(site: Site, cluster: str, user: User) -> Facts:
    """What a cluster has and what this person may use of it. Raises StateUnavailableError.

    A catalog that is older than `catalog_seconds` is wished for anew, and waited for a little.
    """
    configured = cluster_named(site.config, cluster)
    if configured is not None and not kind_of(configured).option_kinds:
        return NOTHING_KNOWN
    catalogs = site.store.catalogs
    catalog, grants = await asyncio.gather(catalogs.catalog(cluster), catalogs.grants(cluster, user.name))
    if catalog is not None and not is_young(site, cluster, catalog):
        await catalogs.ask(cluster)
        catalog = await _younger(site, cluster, catalog)
        grants = await catalogs.grants(cluster, user.name)
    return Facts(catalog=catalog, grants=grants or Grants(), user=user.name)


async def facts_for_all(site: Site, user: User) -> dict[str, Facts]:
    """The same for every cluster that some profile runs on."""
    names = list(dict.fromkeys(profile.cluster for profile in site.config.profile))
    found = await asyncio.gather(*(facts_of(site, name, user) for name in names))
    return dict(zip(names, found, strict=True))


async def _younger(site: Site, cluster: str, known: Catalog) -> Catalog:
    """The next one, or after some patience the one that is there: its time tells."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE_SECONDS
    while loop.time() < end:
        await asyncio.sleep(LOOK_SECONDS)
        found = await site.store.catalogs.catalog(cluster)
        if found is not None and found.time > known.time:
            return found
    return known


def is_young(site: Site, cluster: str, catalog: Catalog) -> bool:
    """Whether a catalog is shown as it is, without a wish for another."""
    return site.clock() - catalog.time <= _interval(site, cluster)


def _interval(site: Site, cluster: str) -> float:
    configured = cluster_named(site.config, cluster)
    return 0.0 if configured is None else kind_of(configured).catalog_seconds(options_of(configured))


def is_old(site: Site, cluster: str, time: float) -> bool:
    """Whether a catalog of that time says how things were rather than how they are."""
    return site.clock() - time > max(OLD_SECONDS, 3 * _interval(site, cluster))
