"""Why a user cannot start a profile on a cluster at all, and whom to ask.

Owns these messages. Pure.
"""

from typing import Final

from state.config.tables import ProfileConfig
from state.offer.access import Facts, partitions
from state.offer.catalog import Partition
from state.offer.option_kinds import fixed, scheduler_options

ASK: Final = "Ask the cluster's admins."


def why_nothing(profile: ProfileConfig, facts: Facts) -> str:
    """Return why there is no way, and whom to ask."""
    catalog = facts.catalog
    if catalog is None:
        return "Nothing is known about this cluster yet. Try again in a minute."
    if not catalog.partitions:
        return f"Cluster {catalog.cluster} has no partitions. {ASK}"
    if catalog.enforced and not facts.grants.associations:
        return f"You have no Slurm account on cluster {catalog.cluster}. Ask its admins for one."
    options = scheduler_options(profile)
    named = fixed(profile.resources, "partition")
    if "partition" not in options and named and catalog.partition(named) is None:
        return f"This profile needs partition {named}, which cluster {catalog.cluster} does not have. {ASK}"
    allowed = list(partitions(profile, options, catalog))
    if not allowed:
        return f"Cluster {catalog.cluster} has no partition for this profile. {ASK}"
    return f"{_why_not(allowed, facts) or _unfit(catalog.cluster)} {ASK}"


def _unfit(cluster: str) -> str:
    return f"No partition of cluster {cluster} is available to your account and fits this profile."


def _why_not(allowed: list[Partition], facts: Facts) -> str:
    """Return why none of these partitions accepts a job of the user; `""`: several reasons, or another one."""
    names = ", ".join(one.name for one in allowed)
    noun = "Partition" if len(allowed) == 1 else "Partitions"
    if all(not one.nodes for one in allowed):
        return f"{noun} {names} {'has' if len(allowed) == 1 else 'have'} no nodes."
    if all(not one.takes_jobs for one in allowed):
        states = ", ".join(dict.fromkeys(one.state for one in allowed))
        return f"{noun} {names} {'takes' if len(allowed) == 1 else 'take'} no new jobs now ({states})."
    if all(one.groups is not None and not set(one.groups) & set(facts.grants.groups) for one in allowed):
        groups = list(dict.fromkeys(group for one in allowed for group in one.groups or ()))
        return f"This is for members of {' or '.join(groups)}, and you are not one."
    return ""
