"""Which limit applies (of a partition, its nodes, a QOS or an account), and the message that names it.

Owns the minimum and maximum of each resource that a job may request on one way, given the rest of its request. Pure.
Does not know about profiles and picks.

Cores, memory and GPUs are per node. Sources: slurm.conf(5), sacctmgr(1), and what slurmctld of 22.05, 24.11 and 26.05
rejects (tests/cluster/test_odd_clusters.py).
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from state.offer import accounting
from state.offer.catalog import Partition, Reservation
from state.offer.nodes import of_nodes
from state.offer.quantities import MEBIBYTE
from state.offer.way import Limit, Request, Way, amount_text, count


class Bounds(NamedTuple):
    """The minimum and maximum that a job may request; None: no limit is known."""

    least: Limit | None = None
    most: Limit | None = None


def bounds(kind: str, way: Way, request: Request) -> Bounds:
    """Return how much of one kind of amount a job may request this way, given the rest of its request."""
    beside = request.without(kind)
    found = [*_of_partition(kind, way, beside), *accounting.most(kind, way, beside)]
    if (nodes := of_nodes(kind, way.partition, beside)) is not None:
        found.append(nodes)
    least = max(_least(kind, way, beside), key=_amount, default=None)
    return Bounds(least=least, most=min(found, key=_amount, default=None))


def _amount(limit: Limit) -> int:
    return limit.amount


def _of_partition(kind: str, way: Way, request: Request) -> Iterator[Limit]:
    """Yield the partition's limits in slurm.conf, and the number of nodes of a reservation."""
    partition, ignored = way.partition, f"max_{kind}" in way.rules.ignored
    match kind:
        case "walltime" if partition.max_walltime is not None and not ignored:
            yield _own(partition, kind, partition.max_walltime, "")
        case "cores" if partition.max_cores_per_node is not None:
            yield _own(partition, kind, partition.max_cores_per_node, " on each node")
        case "memory":
            if partition.max_memory_per_node is not None:
                yield _own(partition, kind, partition.max_memory_per_node, " on each node")
            yield from _by_cores(way, request)
        case "nodes":
            if partition.max_nodes is not None and not ignored:
                yield _own(partition, kind, partition.max_nodes, "")
            yield from _of_reservation(request.reservation)


def _of_reservation(reservation: Reservation | None) -> Iterator[Limit]:
    if reservation is not None and reservation.nodes:
        nodes = reservation.nodes
        yield Limit(nodes, lambda: f"Reservation {reservation.name} has {count(nodes, 'node')}.")


def _own(partition: Partition, kind: str, most: int, where: str) -> Limit:
    return Limit(most, lambda: f"Partition {partition.name} allows at most {amount_text(kind, most)}{where}.")


def _by_cores(way: Way, request: Request) -> Iterator[Limit]:
    """Slurm gives a job more cores for its memory, as many as it may have."""
    per_core = way.partition.max_memory_per_core
    cores = bounds("cores", way, request).most if per_core is not None else None
    if per_core is not None and cores is not None:
        most = cores.amount * per_core
        limit = amount_text("memory", per_core - per_core % MEBIBYTE)
        yield Limit(
            most - most % MEBIBYTE,
            lambda: f"Partition {way.partition.name} allows at most {limit} per core. {cores.why}",
        )


def _least(kind: str, way: Way, request: Request) -> Iterator[Limit]:
    yield from accounting.least(kind, way, request)
    if kind != "nodes":
        return
    least = way.partition.min_nodes
    if least > 1 and "min_nodes" not in way.rules.ignored:
        yield Limit(least, lambda: f"Partition {way.partition.name} wants at least {count(least, 'node')}.")
    yield from _nodes_for_a_sum(way, request)


def _nodes_for_a_sum(way: Way, request: Request) -> Iterator[Limit]:
    """Yield the number of nodes of a job that needs more than one node has."""
    for one in accounting.SPREAD:
        required = max(accounting.least(one, way, request), key=_amount, default=None)
        if required is None:
            continue
        each = getattr(request, one)
        if each is None:
            found = bounds(one, way, request).most
            each = found.amount if found is not None else required.amount
        if 0 < each < required.amount:
            yield Limit(-(-required.amount // each), partial(getattr, required, "why"))
