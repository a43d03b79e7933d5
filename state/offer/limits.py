"""Which limit binds: of a partition, its nodes, a QOS, an account; and its sentence.

Owns: one way through a cluster (partition, account, QOS) and the most that a job may ask for on it. Pure. Refuses to
know profiles and what was picked.

Cores, memory and GPUs are per node; what accounting limits is their sum. Sources: "Resource Limits" in Slurm's
documentation (each limit is that of the partition's QOS, else of the job's QOS, else of the association; the first two
change places where the job's QOS has the flag OverPartQOS; what slurm.conf says of a partition always holds).
"""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from state.offer.catalog import Association, Limits, Partition, Qos
from state.offer.option_kinds import words
from state.offer.quantities import MEBIBYTE, memory_text

SHARED: Final = "shard"
"""Slurm's name for a part of a GPU: not counted where any GPU will do."""


class Limit(Struct, frozen=True, kw_only=True):
    """The limit that binds, and which one it is, as a sentence."""

    most: int
    why: str


class Way(Struct, frozen=True, kw_only=True):
    """A partition, an account and a QOS that go together for one person (`""`: the cluster has none to choose).

    `own`: the partition's QOS, where it has one.
    """

    partition: Partition
    account: str = ""
    qos: Qos = Qos(name="")
    association: Association | None = None
    own: Qos | None = None

    def limiting(self) -> tuple[tuple[Qos, str], ...]:
        """The QOS whose limits count, the first one that has a limit first; with the words that name it."""
        job = (self.qos, f"QOS {self.qos.name}")
        if self.own is None:
            return (job,)
        own = (self.own, f"Partition {self.partition.name} (its QOS {self.own.name})")
        return (job, own) if self.qos.over_partition else (own, job)


def limit(kind: str, way: Way, *, gpu: str = "", nodes: int = 1) -> Limit | None:
    """The most that a job may ask for this way, per node where the kind is per node; None: no limit is known.

    `gpu`: the type that is asked for (`""`: any). `nodes`: over how many nodes a sum is spread.
    """
    found = [*_of_nodes(kind, way.partition, gpu)]
    of_a_job = [_of_limits(kind, qos.per_job, gpu, f"{name} allows one job") for qos, name in way.limiting()]
    if way.association is not None:
        of_a_job.append(_of_limits(kind, way.association.limits, gpu, f"Account {way.account} allows you"))
    of_a_person = [_of_limits(kind, qos.per_user, gpu, f"{name} allows one person") for qos, name in way.limiting()]
    sums = [*next(filter(None, of_a_job), []), *next(filter(None, of_a_person), [])]
    if kind in {"gpus", "cores", "memory"} and nodes > 1:
        sums = [Limit(most=one.most // nodes, why=f"{one.why[:-1]}, over {nodes} nodes.") for one in sums]
    return min([*found, *sums], key=lambda one: one.most, default=None)


def _of_nodes(kind: str, partition: Partition, gpu: str) -> Iterable[Limit]:
    name = partition.name
    if kind == "walltime" and partition.max_walltime is not None:
        yield Limit(
            most=partition.max_walltime, why=f"At most {words(kind, partition.max_walltime)} in partition {name}."
        )
    if kind == "nodes":
        if partition.max_nodes is not None:
            yield Limit(most=partition.max_nodes, why=f"At most {_count(partition.max_nodes, 'node')} in {name}.")
        if partition.nodes:
            yield Limit(most=partition.nodes, why=f"Partition {name} has {_count(partition.nodes, 'node')}.")
    if kind == "cores" and partition.cores_per_node:
        cores = partition.cores_per_node
        yield Limit(most=cores, why=f"A node of partition {name} has {_count(cores, 'core')}.")
    if kind == "memory" and partition.memory_per_node:
        memory = partition.memory_per_node - partition.memory_per_node % MEBIBYTE
        yield Limit(most=memory, why=f"A node of partition {name} has {memory_text(memory)} of memory.")
    if kind == "gpus":
        most = gpus_per_node(partition, gpu)
        has = _count(most, gpu or "GPU", plain=bool(gpu)) if most else f"no {gpu or 'GPUs'}"
        yield Limit(most=most, why=f"A node of partition {name} has {has}." if most else f"Partition {name} has {has}.")


def gpus_per_node(partition: Partition, gpu: str) -> int:
    """How many GPUs of a type (`""`: any) one node has at most."""
    counts = [one.per_node for one in partition.gpus if one.type == gpu or (gpu == "" and one.type != SHARED)]
    # types may be on nodes of their own; with one node they are all on it
    return sum(counts) if partition.nodes == 1 else max(counts, default=0)


def _of_limits(kind: str, limits: Limits, gpu: str, who: str) -> list[Limit]:
    found = []
    most: int | None = getattr(limits, kind)
    if most is not None:
        named = {"cores": "core", "gpus": "GPU", "nodes": "node"}
        told = _count(most, named[kind]) if kind in named else words(kind, most)
        found.append(Limit(most=most, why=f"{who} {told}{' of memory' if kind == 'memory' else ''}."))
    if kind == "gpus" and gpu in limits.gpu_types:
        of_type = limits.gpu_types[gpu]
        found.append(Limit(most=of_type, why=f"{who} {of_type} {gpu}."))
    return found


def _count(number: int, word: str, *, plain: bool = False) -> str:
    return f"{number} {word}" if number == 1 or plain else f"{number} {word}s"
