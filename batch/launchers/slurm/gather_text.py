"""The catalog's facts by Slurm's commands: what is asked, and how the answers are read.

Owns: the arguments of scontrol and sacctmgr, and the parsers of what they print. Refuses to know how a command is run,
and what follows from the facts (`batch.launchers.slurm.gather`). A line or a field that is not understood is left out.

Sources: scontrol(1), sacctmgr(1), of 22.05 to 26.05. Five requests: nodes (two RPCs, scontrol reads the partitions with
them), partitions, reservations, and two of slurmdbd's; and once an hour the configuration (two RPCs: it pings, too).
"""

import calendar
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

from batch.launchers.slurm.gather import Accounting, Node, gpus_of, names, who
from state.offer.catalog import Association, Grants, Limits, Partition, Qos, Reservation

Run = Callable[[Sequence[str]], Awaitable[str]]
"""Runs a command (its name and arguments) and gives what it prints; raises LauncherError when it fails."""

NODES: Final = ("scontrol", "--details", "--oneliner", "show", "node")
PARTITIONS: Final = ("scontrol", "--all", "--oneliner", "show", "partition")
RESERVATIONS: Final = ("scontrol", "--oneliner", "show", "reservation")
CONFIGURATION: Final = ("scontrol", "show", "config")
QOS_FIELDS: Final = (
    "name",
    "priority",
    "maxwall",
    "maxtres",
    "grptres",
    "maxtrespu",
    "maxjobspu",
    "maxsubmitpu",
    "flags",
)
USER_FIELDS: Final = (
    *("user", "defaultaccount", "account", "partition", "qos", "defaultqos"),
    *("maxwall", "maxtres", "grptres", "maxjobs", "maxsubmit"),
)
QOS: Final = ("sacctmgr", "--noheader", "--parsable2", "show", "qos", f"format={','.join(QOS_FIELDS)}")
USERS: Final = ("sacctmgr", "--noheader", "--parsable2", "show", "user", "withassoc")

MIB: Final = 1024**2
UNITS: Final = {"": MIB, "K": 1024, "M": MIB, "G": 1024**3, "T": 1024**4, "P": 1024**5}
CONFIGURATION_SECONDS: Final = 3600.0
"""What is read of it, the cluster's name and what the accounting enforces, changes with a restart of slurmctld only."""
_FIELD: Final = re.compile(r"(?:^|\s)([A-Za-z][A-Za-z0-9_/:]*)=")
_DURATION: Final = re.compile(r"(?:([0-9]{1,6})-)?([0-9]{1,6})(?::([0-9]{1,6}))?(?::([0-9]{1,6}))?")
_SIZE: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,6})?)([KMGTP]?)")


class TextSource:
    """Slurm by its commands."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._configuration: dict[str, str] = {}
        self._configured = 0.0

    async def nodes(self) -> list[Node]:
        """See `gather.Source`."""
        return nodes_of(await self._run(NODES))

    async def partitions(self) -> list[Partition]:
        """See `gather.Source`."""
        return partitions_of(await self._run(PARTITIONS))

    async def reservations(self) -> list[Reservation]:
        """See `gather.Source`."""
        return reservations_of(await self._run(RESERVATIONS))

    async def accounting(self) -> Accounting:
        """See `gather.Source`. Where the accounting does not decide who may submit, it is not asked further."""
        configuration = await self._settings()
        if not enforces(configuration.get("AccountingStorageEnforce", "")):
            return Accounting(enforced=False)
        cluster = configuration.get("ClusterName", "")
        users = (*USERS, *((f"cluster={cluster}",) if cluster else ()), f"format={','.join(USER_FIELDS)}")
        qos = qos_of(await self._run(QOS))
        return Accounting(enforced=True, qos=tuple(qos), grants=grants_of(await self._run(users)))

    async def _settings(self) -> dict[str, str]:
        now = time.monotonic()
        if not self._configuration or now - self._configured > CONFIGURATION_SECONDS:
            self._configuration, self._configured = configuration_of(await self._run(CONFIGURATION)), now
        return self._configuration


def enforces(setting: str) -> bool:
    """Whether AccountingStorageEnforce binds a job to an association. Each of its words but two implies it."""
    words = {word.strip().lower() for word in setting.split(",")}
    return bool(words - {"", "none", "(null)", "0", "nojobs", "nosteps"})


def fields(line: str) -> dict[str, str]:
    """`Key=value` pairs of a one-line record. Values may hold blanks; of a key that is there twice the first counts.

    What people write (a node's reason or comment) comes last, so it cannot take the place of what Slurm says.
    """
    marks = list(_FIELD.finditer(line))
    found: dict[str, str] = {}
    for at, mark in enumerate(marks):
        end = marks[at + 1].start() if at + 1 < len(marks) else len(line)
        found.setdefault(mark[1], line[mark.end() : end].strip())
    return found


def _records(text: str, first: str) -> Iterator[dict[str, str]]:
    for line in text.splitlines():
        if line.startswith(f"{first}="):
            yield fields(line)


def nodes_of(text: str) -> list[Node]:
    """What `NODES` prints."""
    return [
        Node(
            name=one["NodeName"],
            partitions=names(one.get("Partitions", "")),
            states=states_of(one.get("State", "")),
            cores=_integer(one.get("CPUEfctv", "")) or _integer(one.get("CPUTot", "")) or 0,
            cores_used=_integer(one.get("CPUAlloc", "")) or 0,
            memory=(_integer(one.get("RealMemory", "")) or 0) * MIB,
            gpus=gpus_of(one.get("Gres", "")),
            gpus_used=gpus_of(one.get("GresUsed", "")),
            features=features_of(one.get("ActiveFeatures", "")),
        )
        for one in _records(text, "NodeName")
    ]


def states_of(text: str) -> frozenset[str]:
    """The words of a node's state: `MIXED+DRAIN`, `DOWN*` (it does not answer), `IDLE~` (powered down)."""
    words = {word.rstrip("*~#!%$@^-").upper() for word in text.split("+")}
    return frozenset(words - {""}) | (frozenset({"NOT_RESPONDING"}) if "*" in text else frozenset())


def features_of(text: str) -> tuple[str, ...]:
    """A node's features."""
    return names(text)


def partitions_of(text: str) -> list[Partition]:
    """What `PARTITIONS` prints."""
    return [
        Partition(
            name=one["PartitionName"],
            up=one.get("State", "UP") == "UP",
            default=one.get("Default") == "YES",
            max_walltime=seconds_of(one.get("MaxTime", "")),
            default_walltime=seconds_of(one.get("DefaultTime", "")),
            max_nodes=_integer(one.get("MaxNodes", "")),
            accounts=who(one.get("AllowAccounts", "")),
            denied_accounts=names(one.get("DenyAccounts", "")),
            qos=who(one.get("AllowQos", "")),
            denied_qos=names(one.get("DenyQos", "")),
            groups=who(one.get("AllowGroups", "")),
            own_qos="".join(names(one.get("QoS", ""))[:1]),
        )
        for one in _records(text, "PartitionName")
        if one.get("RootOnly") != "YES"
    ]


def reservations_of(text: str) -> list[Reservation]:
    """What `RESERVATIONS` prints. One for everybody but some, or for groups, is shown as for nobody that we know of."""
    found = []
    for one in _records(text, "ReservationName"):
        start, end = time_of(one.get("StartTime", "")), time_of(one.get("EndTime", ""))
        if start is None or end is None:
            continue
        groups = names(one.get("Groups", ""))
        found.append(
            Reservation(
                name=one["ReservationName"],
                start=start,
                end=end,
                partition="".join(names(one.get("PartitionName", ""))[:1]),
                nodes=_integer(one.get("NodeCnt", "")) or 0,
                users=(*names(one.get("Users", "")), *(f"@{group}" for group in groups)),
                accounts=names(one.get("Accounts", "")),
            )
        )
    return found


def configuration_of(text: str) -> dict[str, str]:
    """What `CONFIGURATION` prints, as a dictionary."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def qos_of(text: str) -> list[Qos]:
    """What `QOS` prints."""
    return [
        Qos(
            name=one["name"],
            priority=_integer(one["priority"]) or 0,
            over_partition="OverPartQOS" in names(one["flags"]),
            per_job=limits_of(one["maxtres"], one["grptres"], walltime=one["maxwall"]),
            per_user=limits_of(one["maxtrespu"], running=one["maxjobspu"], submitted=one["maxsubmitpu"]),
        )
        for one in _rows(text, QOS_FIELDS)
        if one["name"]
    ]


def grants_of(text: str) -> dict[str, Grants]:
    """What `USERS` prints, by user; in Slurm's order, the default account's associations first."""
    default: dict[str, str] = {}
    found: dict[str, list[Association]] = {}
    for one in _rows(text, USER_FIELDS):
        if not one["user"] or not one["account"]:
            continue
        default[one["user"]] = one["defaultaccount"]
        found.setdefault(one["user"], []).append(
            Association(
                account=one["account"],
                partition=one["partition"],
                qos=names(one["qos"]),
                default_qos=one["defaultqos"],
                limits=limits_of(
                    one["maxtres"],
                    one["grptres"],
                    walltime=one["maxwall"],
                    running=one["maxjobs"],
                    submitted=one["maxsubmit"],
                ),
            )
        )
    return {user: grants(default[user], associations) for user, associations in found.items()}


def grants(default: str, associations: list[Association]) -> Grants:
    """One person's, with the default account's first."""
    ordered = sorted(associations, key=lambda one: one.account != default)
    return Grants(default_account=default, associations=tuple(ordered))


def limits_of(*sets: str, walltime: str = "", running: str = "", submitted: str = "") -> Limits:
    """Limits from what Slurm writes: sets of TRES (`cpu=4,mem=10G,gres/gpu:a100=1`), the smallest of all counts."""
    least: dict[str, int] = {}
    for text in sets:
        for part in text.split(","):
            key, _, value = part.partition("=")
            count = memory_of(value) if key == "mem" else _integer(value)
            if count is not None:
                least[key] = min(count, least.get(key, count))
    return limits(least, walltime=seconds_of(walltime), running=_integer(running), submitted=_integer(submitted))


def limits(least: dict[str, int], *, walltime: int | None, running: int | None, submitted: int | None) -> Limits:
    """Limits of counts by TRES (`cpu`, `mem` in bytes, `gres/gpu`, `gres/gpu:a100`, `gres/shard`)."""
    types = {key.partition(":")[2]: count for key, count in least.items() if key.startswith("gres/gpu:")}
    if "gres/shard" in least:
        types["shard"] = least["gres/shard"]
    return Limits(
        walltime=walltime,
        cores=least.get("cpu"),
        memory=least.get("mem"),
        gpus=least.get("gres/gpu"),
        nodes=least.get("node"),
        gpu_types=types,
        running_jobs=running,
        submitted_jobs=submitted,
    )


def _rows(text: str, wanted: Sequence[str]) -> Iterator[dict[str, str]]:
    for line in text.splitlines():
        values = line.split("|")
        if len(values) == len(wanted):
            yield dict(zip(wanted, values, strict=True))


def seconds_of(text: str) -> int | None:
    """`[D-]HH:MM:SS`, `MM:SS` or minutes, in seconds; None: no limit (`UNLIMITED`, `NONE`, `Partition_Limit`)."""
    found = _DURATION.fullmatch(text)
    if found is None:
        return None
    days, *rest = (None if part is None else int(part) for part in found.groups())
    first, second, third = rest
    if days is not None:  # D-HH, D-HH:MM, D-HH:MM:SS
        return days * 86400 + (first or 0) * 3600 + (second or 0) * 60 + (third or 0)
    if third is not None:
        return (first or 0) * 3600 + (second or 0) * 60 + third
    return (first or 0) * 60 + (second or 0)


def memory_of(text: str) -> int | None:
    """Memory in bytes: `4G`, `100M`, or MiB."""
    found = _SIZE.fullmatch(text)
    return None if found is None else int(float(found[1]) * UNITS[found[2]])


def time_of(text: str) -> float | None:
    """`2026-11-25T14:31:33` (UTC, which Slurm's commands are told to use), or seconds; None: not known."""
    if text.isascii() and text.isdigit() and len(text) < 12:  # noqa: PLR2004 - up to the year 5138
        return float(text)
    try:
        return float(calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%S")))
    except (ValueError, OverflowError):
        return None


def _integer(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None  # noqa: PLR2004 - 64 bits
