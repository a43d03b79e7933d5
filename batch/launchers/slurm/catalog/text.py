"""The catalog's facts from Slurm's commands: which commands are run, and how their output is parsed.

Owns the arguments of scontrol and sacctmgr, and the parsers of their output. Does not know how a command is run and
what follows from the facts (`gather`). Lines and fields that it does not understand are left out.

Sources: scontrol(1), sacctmgr(1), of 22.05 to 26.05. Six requests: nodes (two RPCs, because scontrol also reads the
partitions), partitions, reservations, and three to slurmdbd; if there are budgets, one or two more for their use; and
once an hour the configuration (two RPCs, because it also pings).
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from batch.contract import LauncherError
from batch.launchers.slurm.catalog.gather import Accounting
from batch.launchers.slurm.catalog.nodes import Node, SlurmReservation
from batch.launchers.slurm.catalog.text_accounting import (
    ACCOUNT_FIELDS,
    ACCOUNTS,
    QOS,
    USAGE,
    USER_FIELDS,
    USERS,
    accounts_of,
    grants_of,
    qos_of,
    usage_of,
    used_by,
)
from batch.launchers.slurm.catalog.text_fields import MIB, integer, memory_of, records, seconds_of, time_of
from batch.launchers.slurm.catalog.tres import gpus_of, names, nested, who, with_groups
from state.offer.catalog import Amounts, Partition, Reservation

Run = Callable[[Sequence[str]], Awaitable[str]]
"""Runs a command (its name and arguments) and returns its output. Raises LauncherError on failure."""

NODES: Final = ("scontrol", "--details", "--oneliner", "show", "node")
PARTITIONS: Final = ("scontrol", "--all", "--oneliner", "show", "partition")
RESERVATIONS: Final = ("scontrol", "--oneliner", "show", "reservation")
CONFIGURATION: Final = ("scontrol", "show", "config")

NAMED_AT_MOST: Final = 200
"""If there are more names than this, all are requested instead."""
CONFIGURATION_SECONDS: Final = 3600.0
"""How long the configuration is kept: the parts that are used only change when slurmctld restarts."""


class TextSource:
    """Slurm through its commands."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._configuration: dict[str, str] = {}
        self._configured = 0.0
        self._configuring = asyncio.Lock()

    async def nodes(self) -> list[Node]:
        """See `gather.Source`."""
        return nodes_of(await self._run(NODES))

    async def partitions(self) -> list[Partition]:
        """See `gather.Source`."""
        found = partitions_of(await self._run(PARTITIONS))
        return [with_defaults(one, await self._settings()) for one in found]

    async def reservations(self) -> list[Reservation]:
        """See `gather.Source`."""
        return reservations_of(await self._run(RESERVATIONS))

    async def accounting(self) -> Accounting:
        """See `gather.Source`. If accounting does not decide who may submit, it is not queried further."""
        configuration = await self._settings()
        enforcement = configuration.get("AccountingStorageEnforce", "")
        if not enforces(enforcement):
            return Accounting(enforced=False)
        name = configuration.get("ClusterName", "")
        cluster = (f"cluster={name}",) if name else ()
        qos = qos_of(await self._run(QOS))
        accounts = accounts_of(await self._run((*ACCOUNTS, *cluster, f"format={','.join(ACCOUNT_FIELDS)}")))
        users = grants_of(await self._run((*USERS, *cluster, f"format={','.join(USER_FIELDS)}")))
        return await self._with_usage(
            Accounting(
                enforced=True,
                safe="safe" in enforcement.lower().split(","),
                nested=nested(version_of(configuration.get("SLURM_VERSION", ""))),
                qos=tuple(qos),
                accounts=tuple(accounts),
                grants=users,
            )
        )

    async def _with_usage(self, found: Accounting) -> Accounting:
        """Return the accounting with the use of each budget. Without slurmctld's report, nothing counts as used."""
        qos = [one.name for one in found.qos if one.limits.budget]
        accounts = {one.name for one in found.accounts if one.limits.budget}
        accounts |= {one.account for each in found.grants.values() for one in each.associations if one.limits.budget}
        try:
            of_qos = await self._usage("flags=qos", "qos", qos) if qos else {}
            of_accounts = await self._usage("flags=assoc", "accounts", sorted(accounts)) if accounts else {}
        except LauncherError:
            return found
        return used_by(found, of_qos | of_accounts)

    async def _usage(self, flags: str, what: str, selected: Sequence[str]) -> dict[tuple[str, ...], Amounts]:
        chosen = (f"{what}={','.join(selected)}",) if len(selected) <= NAMED_AT_MOST else ()
        return usage_of(await self._run((*USAGE, flags, *chosen)))

    async def _settings(self) -> dict[str, str]:
        async with self._configuring:
            now = time.monotonic()
            if not self._configuration or now - self._configured > CONFIGURATION_SECONDS:
                self._configuration, self._configured = configuration_of(await self._run(CONFIGURATION)), now
            return self._configuration


def enforces(setting: str) -> bool:
    """Return whether AccountingStorageEnforce requires an association for a job. All of its flags but two imply it."""
    flags = {flag.strip().lower() for flag in setting.split(",")}
    return bool(flags - {"", "none", "(null)", "0", "nojobs", "nosteps"})


def nodes_of(text: str) -> list[Node]:
    """Parse the output of `NODES`."""
    return [
        Node(
            name=one["NodeName"],
            partitions=names(one.get("Partitions", "")),
            states=states_of(one.get("State", "")),
            cores=integer(one.get("CPUEfctv", "")) or integer(one.get("CPUTot", "")) or 0,
            cores_used=integer(one.get("CPUAlloc", "")) or 0,
            memory=max(0, (integer(one.get("RealMemory", "")) or 0) - (integer(one.get("MemSpecLimit", "")) or 0))
            * MIB,
            gpus=gpus_of(one.get("Gres", "")),
            gpus_used=gpus_of(one.get("GresUsed", "")),
            features=features_of(one.get("ActiveFeatures", "")),
        )
        for one in records(text, "NodeName")
    ]


def states_of(text: str) -> frozenset[str]:
    """Return a node's state and flags: `MIXED+DRAIN`, `DOWN*` (it does not respond), `IDLE~` (powered down)."""
    parts = {part.rstrip("*~#!%$@^-").upper() for part in text.split("+")}
    return frozenset(parts - {""}) | (frozenset({"NOT_RESPONDING"}) if "*" in text else frozenset())


def features_of(text: str) -> tuple[str, ...]:
    """Return a node's features."""
    return names(text)


def partitions_of(text: str) -> list[Partition]:
    """Parse the output of `PARTITIONS`."""
    return [
        Partition(
            name=one["PartitionName"],
            state=one.get("State", "UP"),
            default=one.get("Default") == "YES",
            hidden=one.get("Hidden") == "YES",
            nodes=integer(one.get("TotalNodes", "")) or 0,
            cores=integer(one.get("TotalCPUs", "")) or 0,
            max_walltime=seconds_of(one.get("MaxTime", "")),
            default_walltime=seconds_of(one.get("DefaultTime", "")),
            min_nodes=integer(one.get("MinNodes", "")) or 0,
            max_nodes=integer(one.get("MaxNodes", "")),
            max_cores_per_node=integer(one.get("MaxCPUsPerNode", "")),
            max_memory_per_node=memory_of(one.get("MaxMemPerNode", "")),
            max_memory_per_core=memory_of(one.get("MaxMemPerCPU", "")),
            default_memory_per_node=memory_of(one.get("DefMemPerNode", "")),
            default_memory_per_core=memory_of(one.get("DefMemPerCPU", "")),
            needs_reservation=one.get("ReqResv") == "YES",
            accounts=who(one.get("AllowAccounts", "")),
            denied_accounts=names(one.get("DenyAccounts", "")),
            qos=who(one.get("AllowQos", "")),
            denied_qos=names(one.get("DenyQos", "")),
            groups=who(one.get("AllowGroups", "")),
            own_qos="".join(names(one.get("QoS", ""))[:1]),
        )
        for one in records(text, "PartitionName")
        if one.get("RootOnly") != "YES"
    ]


def with_defaults(partition: Partition, configuration: Mapping[str, str]) -> Partition:
    """Return the partition, with the cluster's limits on memory and its defaults where it has none of its own."""
    keys = {"max_memory_per": "MaxMemPer", "default_memory_per": "DefMemPer"}
    for ours, theirs in keys.items():
        if getattr(partition, f"{ours}_node") is None and getattr(partition, f"{ours}_core") is None:
            node, core = (memory_of(configuration.get(f"{theirs}{per}", "")) for per in ("Node", "CPU"))
            partition = replace(partition, **{f"{ours}_node": node, f"{ours}_core": core})
    return partition


def reservations_of(text: str) -> list[Reservation]:
    """Parse the output of `RESERVATIONS`. See `tres.with_groups`."""
    found: list[Reservation] = []
    for one in records(text, "ReservationName"):
        start, end = time_of(one.get("StartTime", "")), time_of(one.get("EndTime", ""))
        if start is None or end is None:
            continue
        groups = names(one.get("Groups", ""))
        found.append(
            SlurmReservation(
                name=one["ReservationName"],
                start=start,
                end=end,
                partition="".join(names(one.get("PartitionName", ""))[:1]),
                nodes=integer(one.get("NodeCnt", "")) or 0,
                users=with_groups(names(one.get("Users", "")), groups),
                accounts=names(one.get("Accounts", "")),
                maintenance="MAINT" in names(one.get("Flags", "")),
                hosts=one.get("Nodes", ""),
            )
        )
    return found


def configuration_of(text: str) -> dict[str, str]:
    """Parse the output of `CONFIGURATION`."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def version_of(text: str) -> tuple[int, int]:
    """Return `22.05.8` as (22, 5). A text that is no version counts as the oldest one."""
    found = re.match(r"([0-9]{1,4})\.([0-9]{1,4})", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)
