"""The catalog's facts by slurmrestd: which paths are asked, and how the answers are read.

Owns: the shapes of its JSON, 0.0.38 (22.05) to 0.0.45 (26.05). Refuses to know tokens, versions of the API, HTTP, and
what follows from the facts (`batch.launchers.slurm.gather`). What is not understood is left out.

Newer versions wrap numbers (`{"set": true, "infinite": false, "number": 7}`), nest what was flat (a partition's limits)
and make lists of states. 0.0.40 to 0.0.44 tell neither which partition is the default nor which are root's alone.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from batch.launchers.slurm.gather import Accounting, Node, gpus_of, names, who
from batch.launchers.slurm.gather_text import MIB, grants, limits
from state.offer.catalog import Association, Grants, Limits, Partition, Qos, Reservation

Get = Callable[[str, str], Awaitable[Mapping[str, Any]]]
"""Asks slurmrestd: (`slurm` or `slurmdb`, path without version) → the answer. Raises LauncherError when it fails."""

ENDLESS: Final = 2**31 - 1
"""From here on a number means that there is no limit (NO_VAL and INFINITE are 2^32 - 2 and 2^32 - 1)."""


class RestSource:
    """Slurm by slurmrestd. It does not tell AccountingStorageEnforce: it is taken to bind where people are known."""

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
        qos = tuple(qos_of(await self._get("slurmdb", "qos")))
        granted = grants_of(await self._get("slurmdb", "associations"))
        return Accounting(enforced=bool(granted.keys() - {"root"}), qos=qos, grants=granted)


def nodes_of(answer: Mapping[str, Any]) -> list[Node]:
    """Of `slurm/nodes`."""
    found = []
    for one in _list(answer, "nodes"):
        states = _words(one, "state") | _words(one, "state_flags")
        found.append(
            Node(
                name=_text(one, "name"),
                partitions=tuple(str(name) for name in _list(one, "partitions")),
                states=frozenset(states),
                cores=number(one, "effective_cpus") or number(one, "cpus") or 0,
                cores_used=number(one, "alloc_cpus") or 0,
                memory=(number(one, "real_memory") or 0) * MIB,
                gpus=gpus_of(_text(one, "gres")),
                gpus_used=gpus_of(_text(one, "gres_used")),
                features=_names(one, "active_features"),
            )
        )
    return found


def partitions_of(answer: Mapping[str, Any]) -> list[Partition]:
    """Of `slurm/partitions`."""
    found = []
    for one in _list(answer, "partitions"):
        flags = _words(one, "flags")
        states = _words(one, "state") | _words(_map(one, "partition"), "state")
        if flags & {"ROOT_ONLY", "ROOTONLY"}:
            continue
        minutes = _minutes(number(one, "max_time_limit") or number(_map(one, "maximums"), "time"))
        default = _minutes(number(one, "default_time_limit") or number(_map(one, "defaults"), "time"))
        nodes = number(one, "maximum_nodes_per_job")
        found.append(
            Partition(
                name=_text(one, "name"),
                up="UP" in states,
                default="DEFAULT" in flags,
                max_walltime=minutes,
                default_walltime=default,
                max_nodes=nodes if nodes is not None else number(_map(one, "maximums"), "nodes"),
                accounts=who(_text(one, "allowed_accounts") or _text(_map(one, "accounts"), "allowed")),
                denied_accounts=names(_text(one, "denied_accounts") or _text(_map(one, "accounts"), "deny")),
                qos=who(_text(one, "allowed_qos") or _text(_map(one, "qos"), "allowed")),
                denied_qos=names(_text(one, "denied_qos") or _text(_map(one, "qos"), "deny")),
                groups=who(_text(one, "allowed_groups") or _text(_map(one, "groups"), "allowed")),
                own_qos="".join(names(_text(one, "qos") or _text(_map(one, "qos"), "assigned"))[:1]),
            )
        )
    return found


def reservations_of(answer: Mapping[str, Any]) -> list[Reservation]:
    """Of `slurm/reservations`."""
    found = []
    for one in _list(answer, "reservations"):
        start, end = number(one, "start_time"), number(one, "end_time")
        if start is None or end is None:
            continue
        found.append(
            Reservation(
                name=_text(one, "name"),
                start=float(start),
                end=float(end),
                partition=_text(one, "partition"),
                nodes=number(one, "node_count") or 0,
                users=(*_names(one, "users"), *(f"@{group}" for group in _names(one, "groups"))),
                accounts=_names(one, "accounts"),
            )
        )
    return found


def qos_of(answer: Mapping[str, Any]) -> list[Qos]:
    """Of `slurmdb/qos`."""
    return [_qos(one) for one in _list(answer, "qos") or _list(answer, "QOS") if _text(one, "name")]


def _qos(one: Mapping[str, Any]) -> Qos:
    most = _map(one, "limits", "max")
    tres = _map(most, "tres")
    counts = _map(most, "jobs", "active_jobs", "per")  # running, submitted
    per_user = _map(tres, "per")
    wall = number(_map(most, "wall_clock", "per"), "job")
    return Qos(
        name=_text(one, "name"),
        priority=number(one, "priority") or 0,
        over_partition=bool(_words(one, "flags") & {"OVERRIDE_PARTITION_QOS", "OVERPARTQOS"}),
        per_job=_limits(_list(per_user, "job"), _list(tres, "total"), walltime=wall),
        per_user=_limits(
            _list(per_user, "user"),
            running=number(counts, "user"),
            submitted=number(_map(most, "jobs", "per"), "user"),
        ),
    )


def grants_of(answer: Mapping[str, Any]) -> dict[str, Grants]:
    """Of `slurmdb/associations`, by user; QOS by name, as sacctmgr has them.

    A database may hold several clusters: newer versions say which one slurmrestd is of, and others' are left out.
    """
    cluster = _text(_map(answer, "meta", "slurm"), "cluster")
    default: dict[str, str] = {}
    found: dict[str, list[Association]] = {}
    for one in _list(answer, "associations"):
        user, account = _text(one, "user"), _text(one, "account")
        if not user or not account or (cluster and _text(one, "cluster") not in ("", cluster)):
            continue
        if one.get("is_default"):
            default[user] = account
        most = _map(one, "max")
        tres, jobs = _map(most, "tres"), _map(most, "jobs")
        found.setdefault(user, []).append(
            Association(
                account=account,
                partition=_text(one, "partition"),
                qos=tuple(sorted(str(name) for name in _list(one, "qos"))),
                default_qos=_text(_map(one, "default"), "qos"),
                limits=_limits(
                    _list(_map(tres, "per"), "job"),
                    _list(tres, "total"),
                    walltime=number(_map(jobs, "per"), "wall_clock"),
                    running=number(jobs, "active"),
                    submitted=number(jobs, "total"),
                ),
            )
        )
    return {user: grants(default.get(user, ""), associations) for user, associations in found.items()}


def _limits(
    *sets: Sequence[Any], walltime: int | None = None, running: int | None = None, submitted: int | None = None
) -> Limits:
    least: dict[str, int] = {}
    for entry in (entry for entries in sets for entry in entries):
        kind, name, count = _text(entry, "type"), _text(entry, "name"), number(entry, "count")
        if count is None:
            continue
        key = f"{kind}/{name}" if name else kind
        value = count * MIB if kind == "mem" else count
        least[key] = min(value, least.get(key, value))
    return limits(least, walltime=_minutes(walltime), running=running, submitted=submitted)


# --- reading JSON that may have any shape


def number(value: Any, key: str) -> int | None:
    """A number, wrapped or not; None: not set, or no limit."""
    found = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(found, Mapping):
        found = found.get("number") if found.get("set") and not found.get("infinite") else None
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < ENDLESS:
        return None
    return found


def _minutes(value: int | None) -> int | None:
    return None if value is None else value * 60


def _text(value: Any, key: str) -> str:
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, str) else ""


def _list(value: Any, key: str) -> list[Any]:
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, list) else []


def _map(value: Any, *path: str) -> Mapping[str, Any]:
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _words(value: Any, key: str) -> set[str]:
    """The words of a state or of flags, in capitals: a list, or one string."""
    found = value.get(key) if isinstance(value, Mapping) else None
    listed = found if isinstance(found, list) else [found] if isinstance(found, str) else []
    return {str(word).upper() for word in listed if word}


def _names(value: Any, key: str) -> tuple[str, ...]:
    """A list of names, or a string with commas."""
    found = value.get(key) if isinstance(value, Mapping) else None
    return tuple(str(name) for name in found) if isinstance(found, list) else names(_text(value, key))
