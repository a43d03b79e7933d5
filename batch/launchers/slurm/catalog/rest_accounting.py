"""Accounting from slurmrestd: how its responses are parsed, from 0.0.38 (22.05) to 0.0.45 (26.05).

Owns QOS, accounts, associations, and how much of a budget is used. Pure. Does not know about HTTP.

Some versions do not report everything: 0.0.38 has no budget of a QOS, and no version has its use.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from batch.launchers.slurm.catalog.rest_fields import inside, items, minutes, number, state_parts, text
from batch.launchers.slurm.catalog.text_accounting import MINUTE, grants
from batch.launchers.slurm.catalog.text_fields import MIB
from batch.launchers.slurm.catalog.tres import amount_key, smallest, with_walltime
from state.offer.catalog import Account, Amounts, Association, Grants, Limits, Qos

IGNORED: Final = {
    "PARTITION_MINIMUM_NODE": "min_nodes",
    "PARTITION_MAXIMUM_NODE": "max_nodes",
    "PARTITION_TIME_LIMIT": "max_walltime",
}
"""Flags of a QOS whose jobs may exceed a limit of the partition."""


def qos_of(answer: Mapping[str, Any]) -> list[Qos]:
    """Return the QOS of `slurmdb/qos`."""
    return [_qos(one) for one in items(answer, "qos") or items(answer, "QOS") if text(one, "name")]


def _qos(one: Mapping[str, Any]) -> Qos:
    most, flags = inside(one, "limits", "max"), state_parts(one, "flags")
    tres = inside(most, "tres")
    per, spent = inside(tres, "per"), inside(tres, "minutes")
    per_time = inside(spent, "per")
    counts = inside(most, "jobs", "active_jobs", "per")  # running, submitted
    wall = inside(most, "wall_clock", "per")
    limits = Limits(
        job=with_walltime(amounts_of(items(per, "job")), minutes(number(wall, "job"))),
        node=amounts_of(items(per, "node")),
        least=amounts_of(items(inside(one, "limits", "min", "tres", "per"), "job")),
        user=amounts_of(items(per, "user")),
        account=amounts_of(items(per, "account")),
        group=amounts_of(items(tres, "total")),
        job_time=amounts_of(items(per_time, "job"), MINUTE),
        run_time=smallest(*(amounts_of(items(per_time, key), MINUTE) for key in ("qos", "user", "account"))),
        budget=with_walltime(amounts_of(items(spent, "total"), MINUTE), minutes(number(wall, "qos"))),
        running_jobs=number(counts, "user"),
        submitted_jobs=number(inside(most, "jobs", "per"), "user"),
    )
    return Qos(
        name=text(one, "name"),
        priority=number(one, "priority") or 0,
        over_partition=bool(flags & {"OVERRIDE_PARTITION_QOS", "OVERPARTQOS"}),
        ignores=tuple(limit for flag, limit in IGNORED.items() if flag in flags),
        needs_reservation="REQUIRED_RESERVATION" in flags,
        strict="DENY_LIMIT" in flags,
        limits=limits,
    )


def accounts_of(answer: Mapping[str, Any]) -> list[Account]:
    """Return the accounts of `slurmdb/associations`: the entries without a user."""
    return [
        Account(name=text(one, "account"), parent=text(one, "parent_account"), limits=_shared(one))
        for one in _of_this_cluster(answer)
        if text(one, "account") and not text(one, "user")
    ]


def grants_of(answer: Mapping[str, Any]) -> dict[str, Grants]:
    """Return the associations of `slurmdb/associations`, by user. A QOS is given by its name, as in sacctmgr."""
    default: dict[str, str] = {}
    found: dict[str, list[Association]] = {}
    for one in _of_this_cluster(answer):
        user, account = text(one, "user"), text(one, "account")
        if not user or not account:
            continue
        if one.get("is_default"):
            default[user] = account
        found.setdefault(user, []).append(
            Association(
                account=account,
                partition=text(one, "partition"),
                qos=tuple(sorted(str(name) for name in items(one, "qos"))),
                default_qos=text(inside(one, "default"), "qos"),
                limits=_limits(one),
            )
        )
    return {user: grants(default.get(user, ""), associations) for user, associations in found.items()}


def _of_this_cluster(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the associations of this cluster.

    A database may hold several clusters; newer versions say which one slurmrestd serves.
    """
    cluster = text(inside(answer, "meta", "slurm"), "cluster")
    return [
        one
        for one in items(answer, "associations")
        if isinstance(one, Mapping) and (not cluster or text(one, "cluster") in ("", cluster))
    ]


def _shared(one: Mapping[str, Any]) -> Limits:
    tres = inside(one, "max", "tres")
    group = inside(tres, "group")
    wall = minutes(number(inside(one, "max", "per", "account"), "wall_clock"))
    return Limits(
        group=amounts_of(items(tres, "total")),
        run_time=amounts_of(items(group, "active"), MINUTE),
        budget=with_walltime(amounts_of(items(group, "minutes"), MINUTE), wall),
    )


def _limits(one: Mapping[str, Any]) -> Limits:
    most, shared = inside(one, "max"), _shared(one)
    tres, jobs = inside(most, "tres"), inside(most, "jobs")
    per = inside(tres, "per")
    return Limits(
        job=with_walltime(amounts_of(items(per, "job")), minutes(number(inside(jobs, "per"), "wall_clock"))),
        node=amounts_of(items(per, "node")),
        group=shared.group,
        job_time=amounts_of(items(inside(tres, "minutes", "per"), "job"), MINUTE),
        run_time=shared.run_time,
        budget=shared.budget,
        running_jobs=number(jobs, "active"),
        submitted_jobs=number(jobs, "total"),
    )


def amounts_of(entries: Sequence[Any], times: int = 1) -> Amounts:
    """Return amounts of trackable resources (`{"type": "gres", "name": "gpu", "count": 2}`), each times a factor."""
    found = {}
    for entry in entries:
        kind, count = text(entry, "type"), number(entry, "count")
        key = amount_key(kind, text(entry, "name"))
        if key and count is not None:
            found[key] = count * (MIB if kind == "mem" else 1) * times
    return found


def usage_of(answer: Mapping[str, Any]) -> dict[tuple[str, ...], Amounts]:
    """Return how much of accounts' budgets is used, from `slurm/shares`, in seconds. See `text_accounting.usage_of`."""
    found: dict[tuple[str, ...], Amounts] = {}
    for one in items(inside(answer, "shares"), "shares"):
        used: Amounts = {}
        for entry in items(inside(one, "tres"), "usage"):
            kind, _, rest = text(entry, "name").partition("/")
            value = entry.get("value") if isinstance(entry, Mapping) else None
            if (key := amount_key(kind, rest)) and isinstance(value, int | float) and 0 <= value < MIB**3:
                used[key] = int(value) * (MIB if kind == "mem" else 1)
        user = text(one, "name") if "USER" in state_parts(one, "type") else ""
        account = text(one, "parent") if user else text(one, "name")
        found["account", account, user, text(one, "partition")] = used
    return found
