"""The catalog of a Slurm cluster: from what Slurm tells of nodes, partitions and accounting to what the form shows.

Owns: which node counts as up, idle and free, what a partition has, and what stands when one part cannot be had. Refuses
to know how Slurm is asked: a `Source` does (`gather_text` by commands, `gather_rest` by slurmrestd).
"""

import asyncio
import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Final, Protocol, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from batch.contract import LauncherError, Offer
from batch.launchers.slurm.groups import Groups
from state.offer.catalog import Catalog, GpuCount, Grants, Partition, Qos, Reservation

T = TypeVar("T")

UNUSABLE: Final = frozenset(
    {
        *("DOWN", "DRAIN", "DRAINED", "DRAINING", "ERROR", "FAIL", "FAILING", "FUTURE", "UNKNOWN", "INVAL"),
        *("NO_RESPOND", "NOT_RESPONDING", "INVALID_REG", "MAINT", "MAINTENANCE", "REBOOT_ISSUED", "REBOOT_REQUESTED"),
    }
)
"""Words of a node's state with which it starts no job. One that is powered down is started when it is needed."""


class Node(Struct, frozen=True, kw_only=True):
    """One node. `gpus` and `gpus_used`: type → number (`""`: without a type). `memory` in bytes."""

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
        """Whether jobs may start there."""
        return bool(self.states) and not self.states & UNUSABLE

    @property
    def idle(self) -> bool:
        """Whether it is up and has no job."""
        return self.up and "IDLE" in self.states


class Accounting(Struct, frozen=True, kw_only=True):
    """What the accounting says: whether it decides who may submit, the QOS, and who may use what."""

    enforced: bool
    qos: tuple[Qos, ...] = ()
    grants: dict[str, Grants] = field(default_factory=dict)


class Source(Protocol):
    """How Slurm is asked. Every verb may raise LauncherError."""

    async def nodes(self) -> Sequence[Node]:
        """All nodes."""
        ...

    async def partitions(self) -> Sequence[Partition]:
        """All partitions that are for more than root, without what follows from their nodes."""
        ...

    async def reservations(self) -> Sequence[Reservation]:
        """All reservations, also those to come."""
        ...

    async def accounting(self) -> Accounting:
        """Limits and associations of everybody."""
        ...


class Gatherer:
    """Gathers one cluster's catalog; remembers what the accounting said last, for when it is away."""

    def __init__(self, cluster: str, source: Source, groups: Groups | None = None) -> None:
        """`groups`: where Unix groups are looked up."""
        self._cluster = cluster
        self._source = source
        self._groups = groups or Groups()
        self._accounting: Accounting | None = None

    async def gather(self) -> Offer:
        """The catalog as it is now. Raises LauncherError when slurmctld does not tell nodes or partitions.

        Where reservations cannot be had there are none, with a note; where the accounting cannot, what it said last
        stands, with a note, and with nothing to go by everybody may try everything: Slurm decides.
        """
        # All of them end before this does, whatever comes of one: no command goes on behind an answer.
        nodes, partitions, reservations, accounting = await asyncio.gather(
            _unless_away(self._source.nodes()),
            _unless_away(self._source.partitions()),
            _unless_away(self._source.reservations()),
            _unless_away(self._source.accounting()),
        )
        if isinstance(nodes, LauncherError):
            raise nodes
        if isinstance(partitions, LauncherError):
            raise partitions
        notes = []
        if isinstance(reservations, LauncherError):
            notes.append("Reservations could not be read.")
            reservations = ()
        if isinstance(accounting, LauncherError):
            known = self._accounting
            notes.append(
                "Slurm's accounting does not answer: accounts and limits could not be read."
                if known is None
                else "Slurm's accounting does not answer: accounts and limits are those that it told last."
            )
            accounting = known or Accounting(enforced=False)
        else:
            self._accounting = accounting
        grants = accounting.grants
        if named := {group for partition in partitions for group in partition.groups or ()}:
            # A directory may take its time: not in the event loop.
            members, missing = await asyncio.to_thread(self._groups.of, named, grants)
            grants = with_groups(grants, members)
            if missing:
                partitions = [without_groups(partition, missing) for partition in partitions]
                notes.append(
                    f"The hub's host does not know the groups {', '.join(sorted(missing))}: partitions for them are "
                    "shown to everybody, and Slurm decides."
                )
        return Offer(
            catalog=Catalog(
                cluster=self._cluster,
                kind="slurm",
                time=time.time(),
                enforced=accounting.enforced,
                queues=True,
                partitions=tuple(with_nodes(partition, nodes) for partition in partitions),
                qos=accounting.qos,
                reservations=tuple(reservations),
                cores=sum(node.cores for node in nodes),
                memory=sum(node.memory for node in nodes),
                notes=tuple(notes),
            ),
            grants=grants,
        )


async def _unless_away(answer: Awaitable[T]) -> T | LauncherError:
    try:
        return await answer
    except LauncherError as error:
        return error


def with_groups(grants: Mapping[str, Grants], members: Mapping[str, frozenset[str]]) -> dict[str, Grants]:
    """The grants with each one's groups; a member without any other grant has one now. Pure."""
    of: dict[str, list[str]] = {}
    for group, users in sorted(members.items()):
        for user in users:
            of.setdefault(user, []).append(group)
    return {user: replace(grants.get(user, Grants()), groups=tuple(of.get(user, ()))) for user in {**grants, **of}}


def without_groups(partition: Partition, missing: frozenset[str]) -> Partition:
    """The partition, for everybody where nobody can say who is in a group of its. Pure."""
    return replace(partition, groups=None) if missing & set(partition.groups or ()) else partition


def with_nodes(partition: Partition, nodes: Iterable[Node]) -> Partition:
    """The partition with what its nodes have and what of that is free. Pure."""
    own = [node for node in nodes if partition.name in node.partitions]
    up = [node for node in own if node.up]
    types = sorted({kind for node in own for kind in node.gpus})
    return replace(
        partition,
        nodes=len(own),
        nodes_up=len(up),
        nodes_idle=sum(node.idle for node in own),
        cores=sum(node.cores for node in own),
        cores_free=sum(max(0, node.cores - node.cores_used) for node in up),
        cores_per_node=max((node.cores for node in own), default=0),
        memory_per_node=max((node.memory for node in own), default=0),
        gpus=tuple(_gpus(kind, own) for kind in types),
        features=tuple(sorted({feature for node in own for feature in node.features})),
    )


def _gpus(kind: str, nodes: Sequence[Node]) -> GpuCount:
    return GpuCount(
        type=kind,
        total=sum(node.gpus.get(kind, 0) for node in nodes),
        free=sum(max(0, node.gpus.get(kind, 0) - node.gpus_used.get(kind, 0)) for node in nodes if node.up),
        per_node=max(node.gpus.get(kind, 0) for node in nodes),
    )


# --- what both sources write alike


def gpus_of(gres: str) -> dict[str, int]:
    """Type → number, of a node's generic resources: `gpu:a100:2(S:0-1),gpu:a100_1g.5gb:7,shard:8`.

    A GPU without a type is of type `""`; shards are of type `shard`, whatever they are slices of. Other resources, and
    what is not understood, are left out.
    """
    counts: dict[str, int] = {}
    for part in _parts(gres):
        name, *rest = _bare(part).split(":")
        if name not in ("gpu", "shard") or len(rest) > 2:  # noqa: PLR2004 - type and count
            continue
        if rest and _count(rest[-1]) is not None:
            count, kind = _count(rest[-1]) or 0, rest[0] if len(rest) > 1 else ""
        else:
            count, kind = 1, rest[0] if rest else ""
        kind = "shard" if name == "shard" else "" if kind == "(null)" else kind
        counts[kind] = counts.get(kind, 0) + count
    return counts


def _parts(gres: str) -> list[str]:
    """At the commas outside of brackets: `gpu:2(IDX:0,3)` is one."""
    parts, depth = [""], 0
    for letter in gres:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def _bare(part: str) -> str:
    """Without the sockets or indexes at the end; `gpu:(null):1` keeps its brackets."""
    return part[: part.rindex("(")] if part.endswith(")") and not part.endswith("(null)") and "(" in part else part


def _count(text: str) -> int | None:
    digits, factor = (text[:-1], {"K": 1024, "M": 1024**2}[text[-1]]) if text[-1:] in ("K", "M") else (text, 1)
    return int(digits) * factor if digits.isascii() and digits.isdigit() and len(digits) < 10 else None  # noqa: PLR2004


def names(text: str) -> tuple[str, ...]:
    """A list with commas; `(null)`, `N/A` and nothing are empty."""
    return (
        () if text in ("", "(null)", "N/A", "None") else tuple(part.strip() for part in text.split(",") if part.strip())
    )


def who(text: str) -> tuple[str, ...] | None:
    """Who is let in: None for `ALL` and for nothing said, which both mean everybody."""
    return None if text in ("", "ALL", "(null)") else names(text)
