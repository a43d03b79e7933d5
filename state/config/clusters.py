"""What follows from a cluster's kind, for gateways and controllers."""

from state.config.tables import ClusterConfig, Config


def runs_elsewhere(cluster: ClusterConfig) -> bool:
    """Return whether the cluster's jobs run on other machines than the hub."""
    return cluster.kind != "local"


def needs_certificates(config: Config) -> bool:
    """Return whether gateways and jobs authenticate each other with certificates of the hub's own authority."""
    return any(runs_elsewhere(cluster) for cluster in config.cluster)
