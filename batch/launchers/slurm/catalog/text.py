"""The catalog's facts by Slurm's commands: what is asked, and how the answers are read.

Owns the arguments of scontrol and sacctmgr, and the parsers of what they print. Does not know how a command is run,
and what follows from the facts (`gather`). A line or a field that is not understood is left out.

Sources: scontrol(1), sacctmgr(1), of 22.05 to 26.05. Six requests: nodes (two RPCs, scontrol reads the partitions with
them), partitions, reservations, and three of slurmdbd's; where there are budgets, one or two for what is used of them;
and once an hour the configuration (two RPCs: it pings, too).
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
"""Runs a command (its name and arguments) and gives what it prints; raises LauncherError when it fails."""

NODES: Final = ("scontrol", "--details", "--oneliner", "show", "node")
PARTITIONS: Final = ("scontrol", "--all", "--oneliner", "show", "partition")
RESERVATIONS: Final = ("scontrol", "--oneliner", "show", "reservation")
CONFIGURATION: Final = ("scontrol", "show", "config")

NAMED_AT_MOST: Final = 200
"""If there are more names, all are requested instead."""
CONFIGURATION_SECONDS: Final = 3600.0
"""What is read of it changes with a restart of slurmctld only."""


class TextSource:
    """Slurm by its commands."""

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
        """See `gather.Source`. Where the accounting does not decide who may submit, it is not asked further."""
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
        """With what is gone of budgets. Where slurmctld does not tell, nothing is taken to be gone."""
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
    """Whether AccountingStorageEnforce binds a job to an association. Each of its words but two implies it."""
    flags = {flag.strip().lower() for flag in setting.split(",")}
    return bool(flags - {"", "none", "(null)", "0", "nojobs", "nosteps"})


def nodes_of(text: str) -> list[Node]:
    """What `NODES` prints."""
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
    """A node's state and its flags: `MIXED+DRAIN`, `DOWN*` (it does not answer), `IDLE~` (powered down)."""
    parts = {part.rstrip("*~#!%$@^-").upper() for part in text.split("+")}
    return frozenset(parts - {""}) | (frozenset({"NOT_RESPONDING"}) if "*" in text else frozenset())


def features_of(text: str) -> tuple[str, ...]:
    """A node's features."""
    return names(text)


def partitions_of(text: str) -> list[Partition]:
    """What `PARTITIONS` prints."""
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
    """The partition, with the cluster's own limits on memory and its defaults where it has none."""
    keys = {"max_memory_per": "MaxMemPer", "default_memory_per": "DefMemPer"}
    for ours, theirs in keys.items():
        if getattr(partition, f"{ours}_node") is None and getattr(partition, f"{ours}_core") is None:
            node, core = (memory_of(configuration.get(f"{theirs}{per}", "")) for per in ("Node", "CPU"))
            partition = replace(partition, **{f"{ours}_node": node, f"{ours}_core": core})
    return partition


def reservations_of(text: str) -> list[Reservation]:
    """What `RESERVATIONS` prints. See `tres.with_groups`."""
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
    """What `CONFIGURATION` prints, as a dictionary."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def version_of(text: str) -> tuple[int, int]:
    """`22.05.8` as (22, 5); what is no version is the oldest."""
    found = re.match(r"([0-9]{1,4})\.([0-9]{1,4})", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)
