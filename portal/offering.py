"""What is known of the clusters for one person, read from the state when a form or a start asks.

Owns: from the store to `state.ways.Facts`. Refuses to know forms, and who gathers a catalog.
"""

import asyncio

from portal.site import Site
from state.catalog import Grants
from state.kinds import UNSCHEDULED
from state.records import User
from state.ways import NOTHING_KNOWN, Facts

OLD_SECONDS = 300.0
"""A catalog of this age is old, whatever the interval at which it is gathered."""


async def facts_of(site: Site, cluster: str, user: User) -> Facts:
    """What a cluster has and what this person may use of it. Raises StateUnavailableError."""
    if any(one.name == cluster and one.kind in UNSCHEDULED for one in site.config.cluster):
        return NOTHING_KNOWN
    catalogs = site.store.catalogs
    catalog, grants = await asyncio.gather(catalogs.catalog(cluster), catalogs.grants(cluster, user.name))
    return Facts(catalog=catalog, grants=grants or Grants(), user=user.name)


async def facts_for_all(site: Site, user: User) -> dict[str, Facts]:
    """The same for every cluster that some profile runs on."""
    names = list(dict.fromkeys(profile.cluster for profile in site.config.profile))
    found = await asyncio.gather(*(facts_of(site, name, user) for name in names))
    return dict(zip(names, found, strict=True))


def is_old(site: Site, cluster: str, time: float) -> bool:
    """Whether a catalog of that time says how things were rather than how they are."""
    interval = next((one.slurm.catalog_seconds for one in site.config.cluster if one.name == cluster), 0.0)
    return site.clock() - time > max(OLD_SECONDS, 3 * interval)
