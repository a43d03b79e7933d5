"""The catalog of a Slurm cluster: from what Slurm tells of nodes, partitions and accounting to what the form shows.

Owns which node counts as up, idle and free, what a partition has, and what is used when one part cannot be read. Does
not know how Slurm is queried: a `Source` does (`text` by commands, `rest` by slurmrestd).
"""

import asyncio
import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Final, Protocol, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from batch.contract import LauncherError, Offer
from batch.launchers.slurm.catalog.groups import Groups
from batch.launchers.slurm.identity import hub_user
from state.offer.catalog import (
    Account,
    Catalog,
    GpuCount,
    Grants,
    NodeKind,
    Partition,
    Qos,
    Reservation,
)
from state.offer.way import SHARED

T = TypeVar("T")

DRAINED: Final = frozenset(
    {
        *("DRAIN", "DRAINED", "DRAINING", "MAINT", "MAINTENANCE"),
        *("REBOOT", "REBOOT_ISSUED", "REBOOT_REQUESTED", "REBOOT_CANCELED"),
    }
)
"""Words of a node's state with which it starts no job, because an admin said so."""
BROKEN: Final = frozenset({"DOWN", "ERROR", "FAIL", "FAILING", "FUTURE", "UNKNOWN", "INVAL", "INVALID_REG"})
"""Those with which it starts no job for another reason."""
SILENT: Final = frozenset({"NO_RESPOND", "NOT_RESPONDING"})
POWER: Final = frozenset({"POWERED_DOWN", "POWERING_DOWN", "POWERING_UP", "POWER_DOWN", "POWER_UP", "POWERED_UP"})
"""Words of a node that Slurm starts when a job needs it: it does not answer meanwhile, and takes jobs all the same."""
OFF: Final = frozenset({"POWERED_DOWN", "POWERING_DOWN", "POWERING_UP", "POWER_DOWN", "POWER_UP"})
"""Those of a node whose devices Slurm has not seen since it was last started."""


class Node(Struct, frozen=True, kw_only=True):
    """One node. `gpus` and `gpus_used`: type → number (`""`: without a type).

    `cores` and `memory` (bytes) are those for jobs, without what is kept for the system.
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
        """Whether jobs may start there, be it that the node is started for them."""
        return bool(self.states) and not self.drained and not self._broken

    @property
    def drained(self) -> bool:
        """Whether an admin has closed it for new jobs; one that is broken beside that is down."""
        return bool(self.states & DRAINED) and not self._broken

    @property
    def _broken(self) -> bool:
        return bool(self.states & BROKEN) or bool(self.states & SILENT and not self.states & POWER)

    @property
    def any_gpus(self) -> int:
        """How many GPUs a job gets that asks for no type: of one type only, where Slurm has not seen the devices."""
        counts = [count for kind, count in self.gpus.items() if kind != SHARED]
        return max(counts, default=0) if self.states & OFF else sum(counts)

    @property
    def idle(self) -> bool:
        """Whether it is up and has no job."""
        return self.up and "IDLE" in self.states


class Accounting(Struct, frozen=True, kw_only=True):
    """What the accounting says: whether it decides who may submit, the QOS, the accounts, and who may use what.

    `safe` and `nested`: see `state.offer.catalog.Catalog`.
    """

    enforced: bool
    safe: bool = False
    nested: bool = False
    qos: tuple[Qos, ...] = ()
    accounts: tuple[Account, ...] = ()
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
        """Limits and associations of all users."""
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

        If reservations cannot be read there are none, with a note. If accounting cannot be read, its last answer is
        used, with a note; without one all users may try everything, and Slurm decides.
        """
        # All of them end before this does, also if one fails: no command continues after the answer.
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
                else "Slurm's accounting does not answer: accounts and limits are the last ones known."
            )
            accounting = known or Accounting(enforced=False)
        else:
            self._accounting = accounting
        grants = accounting.grants
        named = {group for partition in partitions for group in partition.groups or ()}
        reserved = {name.lstrip("-@") for one in reservations for name in one.users if "@" in name}
        if named | reserved:
            # A directory may take its time: not in the event loop.
            members, missing = await asyncio.to_thread(self._groups.of, named | reserved, grants)
            grants = with_groups(grants, members)
            if missing := missing & named:
                partitions = [without_groups(partition, missing) for partition in partitions]
                notes.append(
                    f"The hub's host does not know the groups {', '.join(sorted(missing))}. Partitions for them are "
                    "shown to every user, and Slurm decides."
                )
        return Offer(
            catalog=Catalog(
                cluster=self._cluster,
                kind="slurm",
                time=time.time(),
                enforced=accounting.enforced,
                queues=True,
                safe=accounting.safe,
                nested_accounts=accounting.nested,
                partitions=tuple(with_nodes(partition, nodes) for partition in partitions),
                qos=accounting.qos,
                accounts=tuple(sorted(accounting.accounts, key=lambda one: one.name)),
                reservations=tuple(map(for_hub_users, reservations)),
                cores=sum(node.cores for node in nodes),
                memory=sum(node.memory for node in nodes),
                notes=tuple(notes),
            ),
            grants=by_hub_user(grants),
        )


async def _unless_away(answer: Awaitable[T]) -> T | LauncherError:
    try:
        return await answer
    except LauncherError as error:
        return error


def by_hub_user(grants: Mapping[str, Grants]) -> dict[str, Grants]:
    """The grants by the hub's names of users: those of an account `Alice` are alice's. Pure.

    Of two accounts whose names differ only in case, the one with the name of the hub's user counts.
    """
    found = {user: given for account, given in grants.items() if (user := hub_user(account))}
    return found | {user: grants[user] for user in found if user in grants}


def for_hub_users(reservation: Reservation) -> Reservation:
    """The reservation with the hub's names of its users. Pure."""

    def named(name: str) -> str:
        denied = "-" if name.startswith("-") else ""
        plain = name.removeprefix("-")
        return name if plain.startswith("@") else denied + (hub_user(plain) or plain)

    return replace(reservation, users=tuple(map(named, reservation.users)))


def with_groups(grants: Mapping[str, Grants], members: Mapping[str, frozenset[str]]) -> dict[str, Grants]:
    """The grants with each one's groups; a member without any other grant has one now. Pure."""
    of: dict[str, list[str]] = {}
    for group, users in sorted(members.items()):
        for user in users:
            of.setdefault(user, []).append(group)
    return {user: replace(grants.get(user, Grants()), groups=tuple(of.get(user, ()))) for user in {**grants, **of}}


def without_groups(partition: Partition, missing: frozenset[str]) -> Partition:
    """The partition, for all users if the members of one of its groups are not known. Pure."""
    return replace(partition, groups=None) if missing & set(partition.groups or ()) else partition


def with_nodes(partition: Partition, nodes: Iterable[Node]) -> Partition:
    """The partition with what its nodes have and what of that is free. Pure.

    It may have more nodes and cores than are shown: Slurm before 23.02 does not show nodes of a cloud that are powered
    down (PrivateData=cloud in slurm.conf would). They are started for a job; what each has is not known.
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


def kinds_of(nodes: Iterable[Node]) -> list[NodeKind]:
    """Nodes that are alike, once each with their number. Pure."""
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
