"""Notations that commands and slurmrestd share: generic resources, trackable resources, lists of names.

Owns their parsing, and how several limits are combined. Pure.
"""

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from state.offer.catalog import Amounts, Limits
from state.offer.way import SHARED

NESTED_SINCE: Final = (23, 2)
"""The version of Slurm from which AllowAccounts and DenyAccounts also apply to subaccounts, slurm.conf(5)."""


def gpus_of(gres: str) -> dict[str, int]:
    """Return type → number from a node's generic resources: `gpu:a100:2(S:0-1),gpu:a100_1g.5gb:7,shard:8`.

    A GPU without a type has the type `""`; shards have the type `shard`, of whatever GPU they are. Other resources and
    parts that it does not understand are left out.
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
    """Split at the commas outside of brackets: `gpu:2(IDX:0,3)` is one part."""
    parts, depth = [""], 0
    for letter in gres:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def _bare(part: str) -> str:
    """Return it without the sockets or indexes at the end; `gpu:(null):1` keeps its brackets."""
    return part[: part.rindex("(")] if part.endswith(")") and not part.endswith("(null)") and "(" in part else part


def _count(text: str) -> int | None:
    digits, factor = (text[:-1], {"K": 1024, "M": 1024**2}[text[-1]]) if text[-1:] in ("K", "M") else (text, 1)
    return int(digits) * factor if digits.isascii() and digits.isdigit() and len(digits) < 10 else None  # noqa: PLR2004


def amount_key(kind: str, name: str) -> str:
    """Return our name of a trackable resource (see `state.offer.catalog.Amounts`); `""`: jobs do not request it.

    `kind` and `name` as in `gres/gpu:a100`.
    """
    if kind == "gres":
        resource, _, gpu = name.partition(":")
        return f"gpus:{gpu}" if resource == "gpu" and gpu else {"gpu": "gpus", "shard": f"gpus:{SHARED}"}.get(name, "")
    return {"cpu": "cores", "mem": "memory", "node": "nodes"}.get(kind, "")


def smallest(*sets: Amounts) -> Amounts:
    """Return the smallest of several limits on the same thing."""
    found: Amounts = {}
    for amounts in sets:
        for key, amount in amounts.items():
            found[key] = min(amount, found.get(key, amount))
    return found


def with_walltime(amounts: Amounts, seconds: int | None) -> Amounts:
    """Return the amounts, with a limit on time if there is one."""
    return amounts if seconds is None else {**amounts, "walltime": seconds}


def with_used(limits: Limits, used: Amounts) -> Limits:
    """Return the limits with the use of each budget. Pure."""
    mine = {key: amount for key, amount in used.items() if key in limits.budget}
    return replace(limits, used=mine) if mine else limits


def nested(version: tuple[int, int]) -> bool:
    """Return whether lists of accounts also apply to subaccounts in this version of Slurm."""
    return version >= NESTED_SINCE


def names(text: str) -> tuple[str, ...]:
    """Parse a list with commas; `(null)`, `N/A` and nothing are empty."""
    return (
        () if text in ("", "(null)", "N/A", "None") else tuple(part.strip() for part in text.split(",") if part.strip())
    )


def with_groups(users: Iterable[str], groups: Iterable[str]) -> tuple[str, ...]:
    """Return the users of a reservation, with its groups as `@name` (`-@name`: its members may not use it)."""
    return (*users, *(f"-@{group[1:]}" if group.startswith("-") else f"@{group}" for group in groups))


def who(text: str) -> tuple[str, ...] | None:
    """Return who may use it: None for `ALL` and for an empty value, which both mean all users."""
    return None if text in ("", "ALL", "(null)") else names(text)
