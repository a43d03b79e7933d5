"""The nodes of a Slurm cluster, and what a partition has of them.

Owns which node counts as up, idle and free. Pure.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from batch.launchers.slurm.catalog.hostlist import nodes_in
from state.offer.catalog import GpuCount, NodeKind, Partition, Reservation
from state.offer.way import SHARED

DRAINED: Final = frozenset(
    {
        *("DRAIN", "DRAINED", "DRAINING", "MAINT", "MAINTENANCE"),
        *("REBOOT", "REBOOT_ISSUED", "REBOOT_REQUESTED", "REBOOT_CANCELED"),
    }
)
"""Parts of a node's state with which it starts no job because an admin has closed it."""
BROKEN: Final = frozenset({"DOWN", "ERROR", "FAIL", "FAILING", "FUTURE", "UNKNOWN", "INVAL", "INVALID_REG"})
"""Parts of a node's state with which it starts no job for another reason."""
SILENT: Final = frozenset({"NO_RESPOND", "NOT_RESPONDING"})
POWER: Final = frozenset({"POWERED_DOWN", "POWERING_DOWN", "POWERING_UP", "POWER_DOWN", "POWER_UP", "POWERED_UP"})
"""Parts of the state of a node that Slurm starts when a job needs it: it does not respond until then, but accepts jobs.
"""
OFF: Final = frozenset({"POWERED_DOWN", "POWERING_DOWN", "POWERING_UP", "POWER_DOWN", "POWER_UP"})
"""Parts of the state of a node whose devices Slurm has not seen since it was last started."""


class Node(Struct, frozen=True, kw_only=True):
    """One node. `gpus` and `gpus_used`: type → number (`""`: without a type).

    `cores` and `memory` (bytes) are what jobs can use, without what is reserved for the system.
    """

    name: str
    partitions: tuple[str, ...]
    states: frozenset[str]
    cores: int = 0
    cores_used: int = 0
    memory: int = 0
    gpus: dict[str, int] = field(default_factory=dict)
    gpus_used: dict[str, int] = field(default_factory=dict)
    features: tuple[str, ...] = ()

    @property
    def up(self) -> bool:
        """Return whether jobs can start on it, even if the node must be started for them first."""
        return bool(self.states) and not self.drained and not self._broken

    @property
    def drained(self) -> bool:
        """Return whether an admin has closed it for new jobs. A node that is also broken counts as down instead."""
        return bool(self.states & DRAINED) and not self._broken

    @property
    def _broken(self) -> bool:
        return bool(self.states & BROKEN) or bool(self.states & SILENT and not self.states & POWER)

    @property
    def any_gpus(self) -> int:
        """Return how many GPUs a job gets that requests no type: of one type only if Slurm has not seen the devices."""
        counts = [count for kind, count in self.gpus.items() if kind != SHARED]
        return max(counts, default=0) if self.states & OFF else sum(counts)

    @property
    def idle(self) -> bool:
        """Return whether it is up and has no job."""
        return self.up and "IDLE" in self.states


def with_nodes(partition: Partition, nodes: Iterable[Node]) -> Partition:
    """Return the partition with what its nodes have and how much of that is free. Pure.

    It may have more nodes and cores than are shown: Slurm before 23.02 does not show cloud nodes that are powered down
    (PrivateData=cloud in slurm.conf would). Slurm starts them for a job; what each of them has is not known.
    """
    own = [node for node in nodes if partition.name in node.partitions and "FUTURE" not in node.states]
    up = [node for node in own if node.up]
    unseen = max(0, partition.nodes - len(own))
    cores = sum(node.cores for node in own)
    unseen_cores = max(0, partition.cores - cores) if unseen else 0
    types = sorted({kind for node in own for kind in node.gpus})
    return replace(
        partition,
        nodes=len(own) + unseen,
        nodes_up=len(up) + unseen,
        nodes_drained=sum(node.drained for node in own),
        nodes_idle=sum(node.idle for node in own) + unseen,
        cores=cores + unseen_cores,
        cores_free=sum(max(0, node.cores - node.cores_used) for node in up) + unseen_cores,
        cores_per_node=max((node.cores for node in own), default=0),
        memory_per_node=max((node.memory for node in own), default=0),
        kinds=() if unseen else tuple(kinds_of(own)),
        gpus=tuple(_gpus(kind, own) for kind in types),
        features=tuple(sorted({feature for node in own for feature in node.features})),
    )


class SlurmReservation(Reservation, frozen=True, kw_only=True):
    """A reservation as Slurm shows it. `hosts`: its nodes, as Slurm writes them."""

    hosts: str = ""


def with_whole_partitions(
    reservation: Reservation, partitions: Iterable[Partition], nodes: Sequence[Node]
) -> Reservation:
    """The reservation with the partitions that have no other nodes for jobs. Pure."""
    hosts = nodes_in(reservation.hosts) if isinstance(reservation, SlurmReservation) else frozenset()
    whole = [one.name for one in partitions if hosts and _all_within(one, nodes, hosts)]
    kept = {name: getattr(reservation, name) for name in Reservation.__struct_fields__}
    return Reservation(**kept | {"whole_partitions": tuple(whole)})


def _all_within(partition: Partition, nodes: Iterable[Node], hosts: frozenset[str]) -> bool:
    """Whether these hosts are all nodes of a partition that may start jobs, or all of it where none may."""
    own = [node for node in nodes if partition.name in node.partitions and "FUTURE" not in node.states]
    some = [node for node in own if node.up] or own
    return bool(some) and len(own) >= partition.nodes and all(node.name in hosts for node in some)


def kinds_of(nodes: Iterable[Node]) -> list[NodeKind]:
    """Return the distinct kinds of node, each with its number of nodes. Pure."""
    found: dict[tuple[object, ...], list[Node]] = {}
    for node in nodes:
        alike = (node.cores, node.memory, tuple(sorted(node.gpus.items())), node.any_gpus, node.features)
        found.setdefault(alike, []).append(node)
    return [
        NodeKind(
            count=len(some),
            cores=some[0].cores,
            memory=some[0].memory,
            gpus=some[0].gpus,
            any_gpus=some[0].any_gpus,
            features=some[0].features,
        )
        for some in found.values()
    ]


def _gpus(kind: str, nodes: Sequence[Node]) -> GpuCount:
    return GpuCount(
        type=kind,
        total=sum(node.gpus.get(kind, 0) for node in nodes),
        free=sum(max(0, node.gpus.get(kind, 0) - node.gpus_used.get(kind, 0)) for node in nodes if node.up),
        per_node=max(node.gpus.get(kind, 0) for node in nodes),
    )
