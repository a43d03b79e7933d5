"""Descriptions in forms of partitions, QOS, types of GPU and reservations: what they have, and how much is free.

Owns these sentences and the labels of entries. Pure.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from state.offer.catalog import Amounts, GpuCount, Partition, Qos
from state.offer.combinations import Combinations
from state.offer.way import Way, amount_text, count


def label(kind: str, value: str, among: list[Way], combinations: Combinations) -> str:
    """Return the label of an entry, with its free resources."""
    catalog = combinations.facts.catalog
    assert catalog is not None  # there is a way, so there is a catalog
    match kind:
        case "partition":
            partition = catalog.partition(value)
            return f"{value}: {_free(partition)}" if partition else value
        case "gpu":
            counts = {
                one.partition.name: gpus
                for one in among
                for gpus in one.partition.gpus
                if gpus.type == value and combinations.goes(kind, value, one)
            }
            if len(counts) == 1:
                return f"{value}: {_of(next(iter(counts.values())))}"
            return f"{value}: {', '.join(f'{_of(gpus)} in {name}' for name, gpus in counts.items())}"
        case "reservation":
            found = next(one for one in catalog.reservations if one.name == value)
            until = datetime.fromtimestamp(found.end, UTC)
            return f"{value}: {count(found.nodes, 'node')} until {until:%d %B, %H:%M} UTC"
        case _:
            return value


def _free(partition: Partition) -> str:
    """Return a summary of free resources: GPUs if it has any, otherwise cores."""
    if not partition.up:
        return "starts no jobs now"
    if partition.gpus:
        return ", ".join(_gpus_free(one) for one in partition.gpus)
    return f"{partition.cores_free} of {partition.cores} cores free"


def _gpus_free(gpus: GpuCount) -> str:
    return f"{gpus.free} of {gpus.total} {gpus.type or 'GPUs'} free"


def _of(gpus: GpuCount) -> str:
    return f"{gpus.free} of {gpus.total} free"


def of_name(kind: str, value: str, way: Way, combinations: Combinations) -> str:
    """Return the sentences below a field for the picked name."""
    match kind:
        case "partition":
            return _of_partition(way.partition)
        case "gpu":
            counts = [
                one for one in way.partition.gpus if value in {"", one.type} and combinations.goes(kind, one.type, way)
            ]
            if not counts:
                return f"No GPUs are available to you in partition {way.partition.name}."
            return f"Partition {way.partition.name}: {', '.join(_gpus_free(one) for one in counts)}."
        case "qos":
            return _of_qos(way.qos)
        case "reservation" if way.needs_reservation:
            return "A reservation is needed here."
        case _:
            return ""


def _of_partition(partition: Partition) -> str:
    parts = [f"{partition.nodes_up} of {count(partition.nodes, 'node')} up"] if partition.nodes else []
    if partition.nodes_drained:
        parts.append(f"{partition.nodes_drained} drained")
    if partition.cores:
        parts.append(f"{partition.cores_free} of {count(partition.cores, 'core')} free")
    parts += [_gpus_free(one) for one in partition.gpus]
    text = f"{', '.join(parts)}." if parts else ""
    if not partition.up:
        text = f"Partition {partition.name} starts no jobs now. Yours will wait until it does. {text}"
    elif partition.nodes and not partition.nodes_up:
        text = f"{_closed(partition)} {text}"
    if partition.groups is not None:
        text += f" Only for members of {' or '.join(partition.groups)}."
    return text.strip()


def _closed(partition: Partition) -> str:
    """Return why no node of a partition starts jobs."""
    drained, down = partition.nodes_drained, partition.nodes - partition.nodes_drained
    if not down:
        return f"All nodes of partition {partition.name} are drained. A job will wait until an admin resumes one."
    if not drained:
        return f"All nodes of partition {partition.name} are down. A job will wait until one is back."
    return f"No node of partition {partition.name} is up: {drained} drained, {down} down. A job will wait for one."


def _of_qos(qos: Qos) -> str:
    limits = qos.limits
    parts = [
        *_limit_texts(limits.job, "for each job"),
        *_limit_texts(limits.node, "on each node"),
        *_limit_texts(limits.user, "for each user"),
    ]
    if limits.running_jobs is not None:
        parts.append(f"at most {count(limits.running_jobs, 'running job')} for each user")
    parts += [f"at least {', '.join(_amounts(limits.least))} for each job"] if limits.least else []
    return f"QOS {qos.name}: {'; '.join(parts)}." if parts else ""


def _limit_texts(limits: Amounts, where: str) -> list[str]:
    return [f"at most {', '.join(_amounts(limits))} {where}"] if limits else []


def _amounts(limits: Amounts) -> Iterable[str]:
    for key, amount in limits.items():
        kind, _, gpu = key.partition(":")
        yield amount_text(kind, amount, gpu)
