"""What the pool offers: a partition per host, and one for whichever host has room. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from batch.contract import Offer
from batch.launchers.ssh.placement import ANY_HOST, HostFacts
from state.offer.catalog import DOWN, Catalog, GpuCount, NodeKind, Partition
from state.offer.quantities import MEBIBYTE


def offer_of(
    cluster: str,
    hosts: Sequence[HostFacts],
    silent: Mapping[str, str],
    *,
    time: float,
    kind: str = "ssh",
    pool: bool = True,
) -> Offer:
    """The catalog. Hosts that do not answer are shown as down, with why in the notes.

    `pool`: there is an entry for any host with room; otherwise a job goes to the one host there is.
    """
    single = [_partition(host) for host in hosts]
    single += [Partition(name=name, state=DOWN, nodes=1) for name in silent]
    if pool:
        partitions = [_any(single), *sorted(single, key=lambda one: one.name)]
    else:
        partitions = [replace(one, default=True) for one in single]
    return Offer(
        catalog=Catalog(
            cluster=cluster,
            kind=kind,
            time=time,
            partitions=tuple(partitions),
            cores=sum(host.cores for host in hosts),
            memory=sum(host.memory for host in hosts),
            notes=tuple(silent.values()),
        ),
        grants={},
    )


def _partition(host: HostFacts) -> Partition:
    memory = host.memory // MEBIBYTE * MEBIBYTE  # as the form counts it: a default above the maximum would be requested
    total = Counter(gpu.type for gpu in host.gpus)
    free = Counter(gpu.type for gpu in host.gpus_free)
    return Partition(
        name=host.name,
        nodes=1,
        nodes_up=1,
        nodes_idle=int(not host.shares),
        cores=host.cores,
        cores_free=host.cores_free,
        cores_per_node=host.cores,
        memory_per_node=memory,
        kinds=(NodeKind(count=1, cores=host.cores, memory=memory, gpus=dict(total), any_gpus=len(host.gpus)),),
        gpus=tuple(
            GpuCount(type=kind, total=count, free=free[kind], per_node=count) for kind, count in sorted(total.items())
        ),
    )


def _any(hosts: Sequence[Partition]) -> Partition:
    """The entry for any host with room: the total of all hosts, and the maximum of one."""
    types = sorted({gpu.type for host in hosts for gpu in host.gpus})
    return Partition(
        name=ANY_HOST,
        default=True,
        nodes=len(hosts),
        nodes_up=sum(host.nodes_up for host in hosts),
        nodes_idle=sum(host.nodes_idle for host in hosts),
        cores=sum(host.cores for host in hosts),
        cores_free=sum(host.cores_free for host in hosts),
        cores_per_node=max((host.cores_per_node for host in hosts), default=0),
        memory_per_node=max((host.memory_per_node for host in hosts), default=0),
        kinds=tuple(kind for host in hosts for kind in host.kinds),
        gpus=tuple(_all_of(kind, hosts) for kind in types),
    )


def _all_of(kind: str, hosts: Sequence[Partition]) -> GpuCount:
    counts = [gpu for host in hosts for gpu in host.gpus if gpu.type == kind]
    return GpuCount(
        type=kind,
        total=sum(one.total for one in counts),
        free=sum(one.free for one in counts),
        per_node=max(one.per_node for one in counts),
    )
