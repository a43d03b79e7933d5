"""The resources of a partition's nodes, for all parts of a request together.

Owns the kinds of nodes that satisfy a request, and the maximum of one resource given the rest. Pure.
"""

from collections.abc import Collection
from typing import Final

from msgspec.structs import replace

from state.offer.catalog import NodeKind, Partition
from state.offer.quantities import MEBIBYTE
from state.offer.way import Limit, Request, amount_text, count, listed

ON_NODES: Final = ("constraint", "nodes", "gpus", "cores", "memory")
"""The parts of a request that the nodes must satisfy."""


def has_features(kind: NodeKind, constraint: str) -> bool:
    """Return whether nodes satisfy a constraint: features joined by & or |, read from left to right as Slurm does."""
    met, sign, feature = True, "&", ""
    for letter in f"{constraint}&" if constraint else "":
        if letter not in "&|,":
            feature += letter
            continue
        has = feature in kind.features
        met = met and has if sign == "&" else met or has
        feature, sign = "", letter
    return met


def fitting(partition: Partition, request: Request) -> list[NodeKind]:
    """Return the kinds of nodes that satisfy the request as a whole."""
    return [
        kind
        for kind in partition.kinds
        if has_features(kind, request.constraint)
        and kind.cores >= (request.cores or 1)
        and kind.memory >= (request.memory or 0)
        and _has(kind, "gpus", request.gpu) >= request.gpu_count
    ]


def _has(kind: NodeKind, resource: str, gpu: str) -> int:
    match resource:
        case "gpus":
            return kind.gpus.get(gpu, 0) if gpu else kind.any_gpus
        case "cores":
            return kind.cores
        case _:
            return kind.memory - kind.memory % MEBIBYTE


def most_on(partition: Partition, resource: str, request: Request) -> int:
    """Return the maximum of cores, memory or GPUs on the requested number of nodes, given the rest of the request."""
    left = request.nodes or 1
    beside = replace(request.without(resource), gpu="") if resource == "gpus" else request.without(resource)
    kinds = fitting(partition, beside)
    for kind in sorted(kinds, key=lambda one: _has(one, resource, request.gpu), reverse=True):
        left -= kind.count
        if left <= 0:
            return _has(kind, resource, request.gpu)
    return 0


def default_memory(partition: Partition, request: Request) -> int | None:
    """Return the memory on each node of a job that requests none; None: not known."""
    if partition.default_memory_per_node is not None:
        return partition.default_memory_per_node
    if partition.default_memory_per_core is not None:
        return partition.default_memory_per_core * (request.cores or 1)
    return max((kind.memory for kind in fitting(partition, request.without("memory"))), default=None)


def of_nodes(kind: str, partition: Partition, request: Request) -> Limit | None:
    """Return the limit by the partition's nodes, given the rest of the request; None: they do not limit this."""
    if kind == "walltime" or not partition.kinds:
        return None
    return _nodes(partition, request) if kind == "nodes" else _on_each(kind, partition, request)


def _nodes(partition: Partition, request: Request) -> Limit:
    found = sum(one.count for one in fitting(partition, request))

    def why() -> str:
        if found == partition.nodes:
            return f"Partition {partition.name} has {count(found, 'node')}."
        verb = "has" if found == 1 else "have"
        requested = _request_text(request, ON_NODES)
        return f"{count(found, 'node').capitalize()} of partition {partition.name} {verb} {requested}."

    return Limit(found, why)


def _on_each(kind: str, partition: Partition, request: Request) -> Limit:
    most = most_on(partition, kind, request)
    return Limit(most, lambda: _why_on_each(kind, partition, request, most))


def _why_on_each(kind: str, partition: Partition, request: Request, most: int) -> str:
    every = most_on(partition, kind, _only(request, "", kind))
    has = amount_text(kind, most, request.gpu if kind == "gpus" else "")
    if not every:
        return f"Partition {partition.name} has {has}."
    if most == every:
        return f"Nodes of partition {partition.name} have at most {has}."
    alone = [one for one in ON_NODES if one != kind and most_on(partition, kind, _only(request, one, kind)) < every]
    beside = _request_text(request, alone or [one for one in ON_NODES if one != kind])
    return f"With {beside}, nodes of partition {partition.name} have at most {has}."


def _only(request: Request, resource: str, kind: str) -> Request:
    """Return a request for only this (`""`: for nothing), to limit that kind of amount."""
    bare = Request(gpu=request.gpu) if "gpus" in (kind, resource) else Request()
    if not resource or resource == "gpus":
        return replace(bare, gpus=request.gpu_count) if resource else bare
    return replace(bare, **{resource: getattr(request, resource)})


def _request_text(request: Request, kinds: Collection[str]) -> str:
    """Return these parts of a request as text, such as `4 a100 GPUs and 8 cores`."""
    parts = [f"the features {request.constraint}"] if "constraint" in kinds and request.constraint else []
    if "nodes" in kinds and (request.nodes or 1) > 1:
        parts.append(count(request.nodes or 1, "node"))
    if "gpus" in kinds and request.gpu_count:
        parts.append(amount_text("gpus", request.gpu_count, request.gpu))
    parts += [
        amount_text(one, amount)
        for one in ("cores", "memory")
        if one in kinds and (amount := getattr(request, one)) is not None and amount > int(one == "cores")
    ]
    return listed(parts) or "this"
