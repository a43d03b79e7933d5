"""A kind of cluster, described: what the configuration, the pages and the gateway need to know of it.

A package brings one under the entry point group `towpath.launchers`, with the kind as its name and a `LauncherKind` as
its value. Only the controller opens it (`batch.contract.Launcher`); all others read the description. So the module
that holds the description must be cheap to import: no client of a scheduler, no network.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from msgspec import Struct

from state.config.tables import ClusterConfig, Config, ProfileConfig
from state.plugins.entry_points import PluginError, load, names
from state.plugins.options import NoOptions, Say, has_required, no_faults

GROUP: Final = "towpath.launchers"
CATALOG_SECONDS: Final = 60.0
WAYS_IN: Final[Mapping[str, frozenset[str]]] = {
    "unix": frozenset({"unix", "tcp"}),
    "direct": frozenset({"tls"}),
    "ssh": frozenset({"ssh-socket"}),
    "reverse": frozenset({"reverse"}),
}
"""The ways in, and the kinds of endpoint that each is for. A cluster uses the first that its kind has, by default."""


def _never(_: Any) -> bool:
    return False


def _usual(_: Any) -> float:
    return CATALOG_SECONDS


@dataclass(frozen=True, kw_only=True)
class LauncherKind:
    """The description of a kind of cluster, available without opening it."""

    name: str
    open: str
    """`MODULE:FUNCTION`, called by the controller alone: `(ClusterConfig, LauncherContext) -> Launcher`."""
    endpoints: frozenset[str]
    """The kinds of endpoint that jobs may report: `unix` and `tcp` on the hub's machine, the others anywhere.

    They say which ways in such a cluster has (`WAYS_IN`). A launcher with `ssh-socket` is a `batch.contract.SshLogins`.
    """
    options: type[Struct] = NoOptions
    """The table `[cluster.<kind>]`: a frozen Struct with defaults, checked with the rest of the configuration."""
    check: Callable[[Any, str, Say], None] = no_faults
    """Faults of the options that a type cannot express: `(options, key of the table, say)`. Pure."""
    check_profile: Callable[[ProfileConfig, str, Say], None] = no_faults
    """Faults of a profile on such a cluster: `(profile, key of the profile, say)`. Pure."""
    option_kinds: frozenset[str] = frozenset()
    """What a form may ask for (`state.offer.option_kinds.KINDS`). Empty: every job gets what the machine has."""
    runs_here: bool = False
    """Whether jobs are processes of the hub's machine, known to one data directory of a controller alone.

    Otherwise they prove themselves to gateways by certificates, and report over https."""
    shared_account: Callable[[Any], bool] = _never
    """Whether, with these options, servers run under one account, so that users are not isolated from each other."""
    isolation_advice: str = "Use a cluster that runs servers as their users"
    """What an admin can do about a shared account: the beginning of a sentence."""
    one_machine: bool = False
    """Whether jobs run on the controller's own machine although they have certificates: as users other than the hub's.

    Only the controller there finds them, and other users of that machine can connect to its loopback address."""
    cheap_polls: bool = False
    """Whether a look at all jobs costs next to nothing. Then it is made at every tick, and what a job says of its own
    end is not held until the cluster confirms it."""
    catalog_seconds: Callable[[Any], float] = _usual
    """Seconds after which a catalog is collected again when a user opens the form."""
    self_test: str = ""
    """`MODULE:FUNCTION` for `towpath check`: `(Config, ClusterConfig) -> str`, what this machine lacks; `""`: none."""
    adapt: "Callable[[Any], LauncherKind] | None" = None
    """The description as it is with these options, if they change other parts of it."""


def kind_names() -> list[str]:
    """Return the names of all kinds that can be configured here."""
    return names(GROUP)


def find_kind(name: str) -> LauncherKind | None:
    """Return the kind of this name, or None. Raises PluginError when it cannot be loaded."""
    found = load(GROUP, name)
    if found is None:
        return None
    if not isinstance(found, LauncherKind) or found.name != name:
        raise PluginError(f"The plug-in {name!r} of the group {GROUP} is not a LauncherKind of that name.")
    return found


def kind_of(cluster: ClusterConfig) -> LauncherKind:
    """Return the kind of a configured cluster. Raises PluginError when there is none."""
    found = find_kind(cluster.kind)
    if found is None:
        raise PluginError(f"There is no kind of cluster named {cluster.kind!r}; there is: {', '.join(kind_names())}.")
    return adapted(found, cluster)


def adapted(kind: LauncherKind, cluster: ClusterConfig) -> LauncherKind:
    """Return the kind as it is with the options of this cluster."""
    if kind.adapt is None or (cluster.options is None and has_required(kind.options)):
        return kind
    return kind.adapt(kind.options() if cluster.options is None else cluster.options)


def options_of(cluster: ClusterConfig) -> Any:
    """Return the cluster's own options, or their defaults where the configuration has none."""
    return kind_of(cluster).options() if cluster.options is None else cluster.options


def ways_in_of(kind: LauncherKind) -> list[str]:
    """Return the ways in that clusters of this kind have; the first is the default."""
    return [name for name, endpoints in WAYS_IN.items() if endpoints & kind.endpoints]


def way_in_of(cluster: ClusterConfig) -> str:
    """Return the way in to a cluster's apps."""
    return cluster.way_in or next(iter(ways_in_of(kind_of(cluster))), "")


def endpoints_of(cluster: ClusterConfig) -> frozenset[str]:
    """Return the kinds of endpoint that jobs of this cluster may report."""
    return kind_of(cluster).endpoints & WAYS_IN.get(way_in_of(cluster), frozenset())


def cluster_named(config: Config, name: str) -> ClusterConfig | None:
    """Return the cluster of this name, or None if it is not configured (any more)."""
    return next((cluster for cluster in config.cluster if cluster.name == name), None)


def needs_certificates(config: Config) -> bool:
    """Return whether gateways and jobs of this hub prove themselves to each other by the hub's own authority."""
    return not all(kind_of(cluster).runs_here for cluster in config.cluster)


def without_isolation(config: Config) -> list[ClusterConfig]:
    """Return the clusters on which users of this hub could read each other's files and the hub's data."""
    if config.auth is None:
        return []
    return [cluster for cluster in config.cluster if kind_of(cluster).shared_account(options_of(cluster))]


def no_isolation(cluster: ClusterConfig) -> str:
    """Return what this means, as a message for the admin."""
    return (
        f"No isolation: servers on {cluster.name} run under the hub's own account."
        " Every user can read the files of all others and the hub's own data, and act as any user."
        f" {kind_of(cluster).isolation_advice}."
    )
