"""The catalog's facts from slurmrestd: which paths are requested, and how the responses are parsed.

Owns the shapes of its JSON, from 0.0.38 (22.05) to 0.0.45 (26.05). Does not know about tokens, versions of the API,
HTTP and what follows from the facts (`gather`). Fields that it does not understand are left out.

Newer versions wrap numbers (`{"set": true, "infinite": false, "number": 7}`), nest what was flat (a partition's limits)
and turn states into lists. 0.0.40 to 0.0.44 report neither which partition is the default nor which ones are only for
root.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from batch.contract import LauncherError
from batch.launchers.slurm.catalog.gather import Accounting
from batch.launchers.slurm.catalog.nodes import Node, SlurmReservation
from batch.launchers.slurm.catalog.rest_accounting import accounts_of, grants_of, qos_of, usage_of
from batch.launchers.slurm.catalog.rest_fields import inside, items, minutes, names_in, number, state_parts, text
from batch.launchers.slurm.catalog.text_accounting import used_by
from batch.launchers.slurm.catalog.text_fields import MIB
from batch.launchers.slurm.catalog.tres import gpus_of, names, nested, who, with_groups
from state.offer.catalog import Partition, Reservation

Get = Callable[[str, str], Awaitable[Mapping[str, Any]]]
"""Queries slurmrestd: (`slurm` or `slurmdb`, path without version) → the response. Raises LauncherError on failure."""


class RestSource:
    """Slurm through slurmrestd.

    It does not report AccountingStorageEnforce, which counts as set if accounting has users.
    """

    def __init__(self, get: Get) -> None:
        self._get = get

    async def nodes(self) -> list[Node]:
        """See `gather.Source`."""
        return nodes_of(await self._get("slurm", "nodes"))

    async def partitions(self) -> list[Partition]:
        """See `gather.Source`."""
        return partitions_of(await self._get("slurm", "partitions"))

    async def reservations(self) -> list[Reservation]:
        """See `gather.Source`."""
        return reservations_of(await self._get("slurm", "reservations"))

    async def accounting(self) -> Accounting:
        """See `gather.Source`."""
        qos = await self._get("slurmdb", "qos")
        associations = await self._get("slurmdb", "associations")
        granted = grants_of(associations)
        found = Accounting(
            enforced=bool(granted.keys() - {"root"}),
            nested=nested(version_of(associations)),
            qos=tuple(qos_of(qos)),
            accounts=tuple(accounts_of(associations)),
            grants=granted,
        )
        budgets = any(one.limits.budget for one in found.accounts) or any(
            one.limits.budget for each in granted.values() for one in each.associations
        )
        try:
            return used_by(found, usage_of(await self._get("slurm", "shares"))) if budgets else found
        except LauncherError:  # versions before 0.0.40 have no shares
            return found


def version_of(answer: Mapping[str, Any]) -> tuple[int, int]:
    """Return the version of Slurm that a response is from, such as (24, 11)."""
    found = inside(answer, "meta", "slurm", "version") or inside(answer, "meta", "Slurm", "version")
    parts = [str(found.get(key, "")) for key in ("major", "minor")]
    return (int(parts[0]), int(parts[1])) if all(part.isascii() and part.isdigit() for part in parts) else (0, 0)


def nodes_of(answer: Mapping[str, Any]) -> list[Node]:
    """Return the nodes of `slurm/nodes`."""
    found = []
    for one in items(answer, "nodes"):
        states = state_parts(one, "state") | state_parts(one, "state_flags")
        found.append(
            Node(
                name=text(one, "name"),
                partitions=tuple(str(name) for name in items(one, "partitions")),
                states=frozenset(states),
                cores=number(one, "effective_cpus") or _cores(text(one, "tres")) or number(one, "cpus") or 0,
                cores_used=number(one, "alloc_cpus") or 0,
                memory=max(0, (number(one, "real_memory") or 0) - (number(one, "specialized_memory") or 0)) * MIB,
                gpus=gpus_of(text(one, "gres")),
                gpus_used=gpus_of(text(one, "gres_used")),
                features=names_in(one, "active_features"),
            )
        )
    return found


def _cores(tres: str) -> int:
    """Return the cores for jobs from `cpu=6,mem=16000M`, the notation before 0.0.40; 0: it names none."""
    found = re.match(r"cpu=([0-9]{1,9})(?:,|$)", tres)
    return int(found[1]) if found else 0


def partitions_of(answer: Mapping[str, Any]) -> list[Partition]:
    """Return the partitions of `slurm/partitions`."""
    return [_partition(one) for one in items(answer, "partitions") if not _flags(one) & {"ROOT_ONLY", "ROOTONLY"}]


def _flags(one: Mapping[str, Any]) -> set[str]:
    return state_parts(one, "flags")


def _partition(one: Mapping[str, Any]) -> Partition:
    """Return a partition's limits and defaults, which are flat up to 0.0.38 and nested from 0.0.39 on."""
    flags, most, least = _flags(one), inside(one, "maximums"), inside(one, "defaults")
    states = state_parts(one, "state") | state_parts(inside(one, "partition"), "state")
    nodes = number(one, "maximum_nodes_per_job")
    cores = number(one, "maximum_cpus_per_node")
    least_nodes = number(one, "min nodes per job") or number(inside(one, "minimums"), "nodes")
    return Partition(
        name=text(one, "name"),
        state=next(iter(sorted(states)), "UP"),
        default="DEFAULT" in flags,
        hidden="HIDDEN" in flags,
        nodes=number(one, "total_nodes") or number(inside(one, "nodes"), "total") or 0,
        cores=number(one, "total_cpus") or number(inside(one, "cpus"), "total") or 0,
        max_walltime=minutes(number(one, "max_time_limit") or number(most, "time")),
        default_walltime=minutes(number(one, "default_time_limit") or number(least, "time")),
        min_nodes=least_nodes or 0,
        max_nodes=nodes if nodes is not None else number(most, "nodes"),
        max_cores_per_node=cores if cores is not None else number(most, "cpus_per_node"),
        max_memory_per_node=_memory(one, "maximum", "memory_per_node"),
        max_memory_per_core=_memory(one, "maximum", "memory_per_cpu"),
        default_memory_per_node=_memory(one, "default", "memory_per_node"),
        default_memory_per_core=_memory(one, "default", "memory_per_cpu"),
        needs_reservation=bool(flags & {"REQ_RESV", "RESERVATION_REQUIRED"}),
        accounts=who(text(one, "allowed_accounts") or text(inside(one, "accounts"), "allowed")),
        denied_accounts=names(text(one, "denied_accounts") or text(inside(one, "accounts"), "deny")),
        qos=who(text(one, "allowed_qos") or text(inside(one, "qos"), "allowed")),
        denied_qos=names(text(one, "denied_qos") or text(inside(one, "qos"), "deny")),
        groups=who(text(one, "allowed_groups") or text(inside(one, "groups"), "allowed")),
        own_qos="".join(names(text(one, "qos") or text(inside(one, "qos"), "assigned"))[:1]),
    )


def _memory(one: Mapping[str, Any], what: str, key: str) -> int | None:
    """Return a limit on memory, or a default, in bytes; 0: none."""
    found = number(one, f"{what}_{key}") or number(inside(one, f"{what}s"), f"partition_{key}")
    return found * MIB if found else None


def reservations_of(answer: Mapping[str, Any]) -> list[Reservation]:
    """Return the reservations of `slurm/reservations`."""
    found: list[Reservation] = []
    for one in items(answer, "reservations"):
        start, end = number(one, "start_time"), number(one, "end_time")
        if start is None or end is None:
            continue
        found.append(
            SlurmReservation(
                name=text(one, "name"),
                start=float(start),
                end=float(end),
                partition=text(one, "partition"),
                nodes=number(one, "node_count") or 0,
                users=with_groups(names_in(one, "users"), names_in(one, "groups")),
                accounts=names_in(one, "accounts"),
                maintenance="MAINT" in state_parts(one, "flags"),
                hosts=text(one, "node_list"),
            )
        )
    return found
