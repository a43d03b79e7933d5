"""The catalog of a Slurm cluster: from what Slurm tells of nodes, partitions and accounting to what the form shows.

Owns what is used when one part cannot be read. Does not know how Slurm is queried: a `Source` does (`text` by commands,
`rest` by slurmrestd).
"""

import asyncio
import time
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from batch.contract import LauncherError, Offer
from batch.launchers.slurm.catalog.groups import GroupLookup, Groups
from batch.launchers.slurm.catalog.nodes import Node, with_nodes, with_whole_partitions
from batch.launchers.slurm.identity import hub_user
from state.offer.catalog import (
    Account,
    Catalog,
    Grants,
    Partition,
    Qos,
    Reservation,
)

T = TypeVar("T")


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

    def __init__(self, cluster: str, source: Source, groups: GroupLookup | None = None) -> None:
        """`groups`: where Unix groups are looked up."""
        self._cluster = cluster
        self._source = source
        self._groups: GroupLookup = groups or Groups()
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
        notes: list[str] = []
        if isinstance(reservations, LauncherError):
            notes.append("Reservations could not be read.")
            reservations = ()
        accounting, doubts = self._current_or_last(accounting)
        notes += doubts
        groups = group_names(partitions, reservations)
        members, missing = await self._members(groups, accounting.grants)
        if missing := missing & groups.of_partitions:
            partitions = [without_groups(partition, missing) for partition in partitions]
            notes.append(
                f"{self._groups.place} does not know the groups {', '.join(sorted(missing))}. Partitions for them are "
                "shown to every user, and Slurm decides."
            )
        grants = with_groups(accounting.grants, members) if groups.every else accounting.grants
        catalog = catalog_of(
            self._cluster,
            nodes=nodes,
            partitions=partitions,
            reservations=reservations,
            accounting=accounting,
            notes=notes,
            now=time.time(),
        )
        return Offer(catalog=catalog, grants=by_hub_user(grants))

    def _current_or_last(self, answer: Accounting | LauncherError) -> tuple[Accounting, list[str]]:
        """Return the accounting and remember it. If it could not be read, return its last answer, with a note."""
        if not isinstance(answer, LauncherError):
            self._accounting = answer
            return answer, []
        if self._accounting is not None:
            return self._accounting, [
                "Slurm's accounting does not answer: accounts and limits are the last ones known."
            ]
        note = "Slurm's accounting does not answer: accounts and limits could not be read."
        return Accounting(enforced=False), [note]

    async def _members(
        self, groups: "GroupNames", users: Collection[str]
    ) -> tuple[Mapping[str, frozenset[str]], frozenset[str]]:
        """Return the members of the Unix groups, of these users, and which groups do not exist here."""
        if not groups.every:
            return {}, frozenset()
        return await self._groups.members(groups.every, users)


class GroupNames(Struct, frozen=True, kw_only=True):
    """The Unix groups that partitions and reservations are for."""

    of_partitions: frozenset[str]
    of_reservations: frozenset[str]

    @property
    def every(self) -> frozenset[str]:
        """All of them."""
        return self.of_partitions | self.of_reservations


def group_names(partitions: Iterable[Partition], reservations: Iterable[Reservation]) -> GroupNames:
    """Return the groups whose members must be known. A reservation names a group `@physics` or `-@physics`. Pure."""
    return GroupNames(
        of_partitions=frozenset(group for partition in partitions for group in partition.groups or ()),
        of_reservations=frozenset(name.lstrip("-@") for one in reservations for name in one.users if "@" in name),
    )


def catalog_of(
    cluster: str,
    *,
    nodes: Sequence[Node],
    partitions: Iterable[Partition],
    reservations: Iterable[Reservation],
    accounting: Accounting,
    notes: Iterable[str],
    now: float,
) -> Catalog:
    """Return the catalog of these answers. `now`: seconds since the epoch. Pure."""
    found = tuple(with_nodes(partition, nodes) for partition in partitions)
    return Catalog(
        cluster=cluster,
        kind="slurm",
        time=now,
        enforced=accounting.enforced,
        queues=True,
        safe=accounting.safe,
        nested_accounts=accounting.nested,
        partitions=found,
        qos=accounting.qos,
        accounts=tuple(sorted(accounting.accounts, key=lambda one: one.name)),
        reservations=tuple(with_whole_partitions(for_hub_users(one), found, nodes) for one in reservations),
        cores=sum(node.cores for node in nodes),
        memory=sum(node.memory for node in nodes),
        notes=tuple(notes),
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
