"""Accounting from Slurm's commands: which fields are requested, and how the output is parsed.

Owns QOS, accounts, associations, and how much of their budgets is used. Pure. Does not know how a command is run.

Sources: sacctmgr(1), scontrol(1) (`show assoc_mgr`), of 22.05 to 26.05.
"""

import re
from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from batch.launchers.slurm.catalog.gather import Accounting
from batch.launchers.slurm.catalog.text_fields import fields, integer, memory_of, rows, seconds_of
from batch.launchers.slurm.catalog.tres import amount_key, names, smallest, with_used, with_walltime
from state.offer.catalog import Account, Amounts, Association, Grants, Limits, Qos

SHARED_FIELDS: Final = ("grptres", "grptresmins", "grptresrunmins", "grpwall")
"""Fields that limit all jobs of a QOS or an account together."""
QOS_FIELDS: Final = (
    *("name", "priority", "flags", "maxwall", "maxtres", "maxtrespernode", "mintresperjob", "maxtresmins"),
    *SHARED_FIELDS,
    *("maxtrespu", "maxtrespa", "maxtresrunminspu", "maxtresrunminspa", "maxjobspu", "maxsubmitpu"),
)
ACCOUNT_FIELDS: Final = ("account", "parentname", *SHARED_FIELDS)
USER_FIELDS: Final = (
    *("user", "defaultaccount", "account", "partition", "qos", "defaultqos"),
    *("maxwall", "maxtres", "maxtrespernode", "maxtresmins", *SHARED_FIELDS, "maxjobs", "maxsubmit"),
)
QOS: Final = ("sacctmgr", "--noheader", "--parsable2", "show", "qos", f"format={','.join(QOS_FIELDS)}")
ACCOUNTS: Final = ("sacctmgr", "--noheader", "--parsable2", "show", "assoc", "user=")
"""Associations; the rows without a user are those of accounts."""
USERS: Final = ("sacctmgr", "--noheader", "--parsable2", "show", "user", "withassoc")
USAGE: Final = ("scontrol", "--oneliner", "show", "assoc_mgr")
MINUTE: Final = 60
IGNORED: Final = {
    "PartitionMinNodes": "min_nodes",
    "PartitionMaxNodes": "max_nodes",
    "PartitionTimeLimit": "max_walltime",
}
"""Flags of a QOS whose jobs may exceed a limit of the partition."""


def qos_of(text: str) -> list[Qos]:
    """Parse the output of `QOS`."""
    found = []
    for one in rows(text, QOS_FIELDS):
        flags = names(one["flags"])
        if not one["name"]:
            continue
        limits = replace(
            shared_limits(one),
            job=with_walltime(amounts_of(one["maxtres"]), seconds_of(one["maxwall"])),
            node=amounts_of(one["maxtrespernode"]),
            least=amounts_of(one["mintresperjob"]),
            user=amounts_of(one["maxtrespu"]),
            account=amounts_of(one["maxtrespa"]),
            job_time=amounts_of(one["maxtresmins"], MINUTE),
            run_time=smallest(
                *(amounts_of(one[key], MINUTE) for key in ("grptresrunmins", "maxtresrunminspu", "maxtresrunminspa"))
            ),
            running_jobs=integer(one["maxjobspu"]),
            submitted_jobs=integer(one["maxsubmitpu"]),
        )
        found.append(
            Qos(
                name=one["name"],
                priority=integer(one["priority"]) or 0,
                over_partition="OverPartQOS" in flags,
                ignores=tuple(limit for flag, limit in IGNORED.items() if flag in flags),
                needs_reservation="RequiresReservation" in flags,
                strict="DenyOnLimit" in flags,
                limits=limits,
            )
        )
    return found


def accounts_of(text: str) -> list[Account]:
    """Parse the output of `ACCOUNTS`."""
    return [
        Account(name=one["account"], parent=one["parentname"], limits=shared_limits(one))
        for one in rows(text, ACCOUNT_FIELDS)
        if one["account"]
    ]


def grants_of(text: str) -> dict[str, Grants]:
    """Parse the output of `USERS`, by user; in Slurm's order, with the associations of the default account first."""
    default: dict[str, str] = {}
    found: dict[str, list[Association]] = {}
    for one in rows(text, USER_FIELDS):
        if not one["user"] or not one["account"]:
            continue
        default[one["user"]] = one["defaultaccount"]
        found.setdefault(one["user"], []).append(
            Association(
                account=one["account"],
                partition=one["partition"],
                qos=names(one["qos"]),
                default_qos=one["defaultqos"],
                limits=replace(
                    shared_limits(one),
                    job=with_walltime(amounts_of(one["maxtres"]), seconds_of(one["maxwall"])),
                    node=amounts_of(one["maxtrespernode"]),
                    job_time=amounts_of(one["maxtresmins"], MINUTE),
                    running_jobs=integer(one["maxjobs"]),
                    submitted_jobs=integer(one["maxsubmit"]),
                ),
            )
        )
    return {user: grants(default[user], associations) for user, associations in found.items()}


def grants(default: str, associations: list[Association]) -> Grants:
    """Return the associations of one user, with those of the default account first."""
    ordered = sorted(associations, key=lambda one: one.account != default)
    return Grants(default_account=default, associations=tuple(ordered))


def shared_limits(one: Mapping[str, str]) -> Limits:
    """Return the limits on all jobs of a QOS, an account or an association together."""
    return Limits(
        group=amounts_of(one["grptres"]),
        run_time=amounts_of(one["grptresrunmins"], MINUTE),
        budget=with_walltime(amounts_of(one["grptresmins"], MINUTE), seconds_of(one["grpwall"])),
    )


def amounts_of(text: str, times: int = 1) -> Amounts:
    """Parse trackable resources (`cpu=4,mem=10G,gres/gpu:a100=1`) into amounts, each multiplied by a factor."""
    found = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        kind, _, rest = name.partition("/")
        key = amount_key(kind, rest)
        count = memory_of(value) if kind == "mem" else integer(value)
        if key and count is not None:
            found[key] = count * times
    return found


# --- usage


def usage_of(text: str) -> dict[tuple[str, ...], Amounts]:
    """Return how much of each budget is used, from the output of `USAGE`.

    The keys are ("qos", name) and ("account", name, user, partition).
    """
    found: dict[tuple[str, ...], Amounts] = {}
    for line in text.splitlines():
        one = fields(line)
        used = _used(one.get("GrpTRESMins", ""), one.get("GrpWall", ""))
        if line.startswith("QOS=") and used:
            found["qos", _bare(one["QOS"])] = used
        elif "Account" in one and used:
            found["account", one["Account"], _bare(one.get("UserName", "")), one.get("Partition", "")] = used
    return found


def _bare(text: str) -> str:
    """Return a name without the number after it: `alice(1001)`."""
    return text.rpartition("(")[0] if text.endswith(")") else text


def _used(minutes: str, wall: str) -> Amounts:
    """Return the numbers in brackets of `cpu=1000(17),mem=N(0)` and `600(1.50)`, if there is a limit."""
    limited = [part for part in minutes.split(",") if "=N(" not in part and "(" in part]
    gone_of = (re.sub(r"=[^(]*\(([0-9]+)(?:\.[0-9]+)?\)", r"=\1", part) for part in limited)
    used = amounts_of(",".join(gone_of), MINUTE)
    gone = re.fullmatch(r"[0-9]+\(([0-9]+)(?:\.[0-9]+)?\)", wall)
    return with_walltime(used, int(gone[1]) * MINUTE if gone else None)


def used_by(found: Accounting, usage: Mapping[tuple[str, ...], Amounts]) -> Accounting:
    """Return the accounting with the use of each budget. Pure."""

    def of(association: Association, user: str) -> Association:
        key = ("account", association.account, user, association.partition)
        return replace(association, limits=with_used(association.limits, usage.get(key, {})))

    return replace(
        found,
        qos=tuple(replace(one, limits=with_used(one.limits, usage.get(("qos", one.name), {}))) for one in found.qos),
        accounts=tuple(
            replace(one, limits=with_used(one.limits, usage.get(("account", one.name, "", ""), {})))
            for one in found.accounts
        ),
        grants={
            user: replace(each, associations=tuple(of(one, user) for one in each.associations))
            for user, each in found.grants.items()
        },
    )
