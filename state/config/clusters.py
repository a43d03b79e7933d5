"""What follows from the kind of a cluster, for both sides."""

from state.config.tables import ClusterConfig, Config


def runs_elsewhere(cluster: ClusterConfig) -> bool:
    """Return whether the cluster's jobs run on other machines than the hub's."""
    return cluster.kind != "local"


def needs_certificates(config: Config) -> bool:
    """Return whether gateways and jobs of this hub prove themselves to each other by the hub's own authority."""
    return any(runs_elsewhere(cluster) for cluster in config.cluster)
