"""The cluster of a start, where a profile names several: one more choice, called `cluster`.

Owns which cluster was picked. A profile on one cluster is what the rest of the offer works with. Pure.
"""

from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from state.config.tables import ProfileConfig
from state.errors import ChoicesError

CLUSTER: Final = "cluster"
"""The name of the choice. A profile that names several clusters has no option of this name."""


def has_choice(profile: ProfileConfig) -> bool:
    """Return whether the user picks the cluster."""
    return len(profile.clusters) > 1


def on_picked_cluster(profile: ProfileConfig, picked: Mapping[str, Any]) -> tuple[ProfileConfig, dict[str, Any]]:
    """Return the profile on the picked cluster, or else on its first one, and the other picks. Raises ChoicesError.

    A profile with one cluster accepts that cluster's name as well.
    """
    if CLUSTER in profile.option or CLUSTER not in picked:
        return replace(profile, cluster=profile.clusters[0]), dict(picked)
    rest = {name: value for name, value in picked.items() if name != CLUSTER}
    raw = picked[CLUSTER]
    if isinstance(raw, list | tuple) and len(raw) == 1:
        raw = raw[0]
    if raw is None or raw == "":
        return replace(profile, cluster=profile.clusters[0]), rest
    if not isinstance(raw, str) or raw not in profile.clusters:
        raise ChoicesError({CLUSTER: f"Pick one of: {', '.join(profile.clusters)}."})
    return replace(profile, cluster=raw), rest


def on_cluster_if_offered(profile: ProfileConfig, picked: Mapping[str, Any]) -> ProfileConfig:
    """Return the profile on the picked cluster, or on its first one if the picked one is not offered."""
    try:
        return on_picked_cluster(profile, picked)[0]
    except ChoicesError:
        return replace(profile, cluster=profile.clusters[0])


def with_cluster(profile: ProfileConfig, cluster: str, choices: Mapping[str, Any]) -> dict[str, Any]:
    """Return the choices with the cluster among them, where it is a choice. `profile`: as configured."""
    return {CLUSTER: cluster, **choices} if has_choice(profile) else dict(choices)
