"""Creates the way in `reverse`, and decides which servers are reached by it."""

from pathlib import Path

from gateway.ways_in.identity import GatewayIdentity
from gateway.ways_in.reverse.peers import PeerNetwork
from gateway.ways_in.reverse.waiting import WaitingStreams
from gateway.ways_in.reverse.way_in import ReverseWayIn
from state.config.tables import Config
from state.plugins.launchers import cluster_named, endpoints_of
from state.records.models import Server
from state.settings.loader import Settings
from state.store.all import Store

REVERSE = "reverse"
"""The kind of endpoint."""


async def reverse_way_in(settings: Settings, store: Store, identity: GatewayIdentity, *, socket: Path) -> ReverseWayIn:
    """Return the way in. Other workers are found only if a cluster uses it. Raises TowpathError.

    `socket`: the path of this worker's socket for the others.
    """
    waiting = WaitingStreams()
    if not any(REVERSE in endpoints_of(cluster) for cluster in settings.config.cluster):
        return ReverseWayIn(identity, waiting)
    host = settings.config.gateway.peer_host
    peers = PeerNetwork(waiting, store.reverse_holders, identity, socket=socket, host=host)
    await peers.start(settings.data_dir / "tls")
    return ReverseWayIn(identity, waiting, peers)


def uses_reverse(config: Config, server: Server) -> bool:
    """Return whether servers of the server's cluster are reached by connections that they open to the hub."""
    cluster = cluster_named(config, server.cluster)
    return cluster is not None and REVERSE in endpoints_of(cluster)
