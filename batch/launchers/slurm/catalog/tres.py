"""What commands and slurmrestd write alike: generic resources, names of trackable resources, lists of names.

Owns the reading of these, and how limits are put together. Pure.
"""

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from state.offer.catalog import Amounts, Limits
from state.offer.way import SHARED

NESTED_SINCE: Final = (23, 2)
"""The version of Slurm since which AllowAccounts and DenyAccounts hold for accounts below, slurm.conf(5)."""


def gpus_of(gres: str) -> dict[str, int]:
    """Type → number, of a node's generic resources: `gpu:a100:2(S:0-1),gpu:a100_1g.5gb:7,shard:8`.

    A GPU without a type is of type `""`; shards are of type `shard`, whatever they are slices of. Other resources, and
    what is not understood, are left out.
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
    """At the commas outside of brackets: `gpu:2(IDX:0,3)` is one."""
    parts, depth = [""], 0
    for letter in gres:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def _bare(part: str) -> str:
    """Without the sockets or indexes at the end; `gpu:(null):1` keeps its brackets."""
    return part[: part.rindex("(")] if part.endswith(")") and not part.endswith("(null)") and "(" in part else part


def _count(text: str) -> int | None:
    digits, factor = (text[:-1], {"K": 1024, "M": 1024**2}[text[-1]]) if text[-1:] in ("K", "M") else (text, 1)
    return int(digits) * factor if digits.isascii() and digits.isdigit() and len(digits) < 10 else None  # noqa: PLR2004


def amount_key(kind: str, name: str) -> str:
    """Slurm's name of a trackable resource → ours (see `state.offer.catalog.Amounts`); `""`: no job requests it.

    `kind` and `name` as in `gres/gpu:a100`.
    """
    if kind == "gres":
        resource, _, gpu = name.partition(":")
        return f"gpus:{gpu}" if resource == "gpu" and gpu else {"gpu": "gpus", "shard": f"gpus:{SHARED}"}.get(name, "")
    return {"cpu": "cores", "mem": "memory", "node": "nodes"}.get(kind, "")


def smallest(*sets: Amounts) -> Amounts:
    """Of several limits on the same thing the smallest."""
    found: Amounts = {}
    for amounts in sets:
        for key, amount in amounts.items():
            found[key] = min(amount, found.get(key, amount))
    return found


def with_walltime(amounts: Amounts, seconds: int | None) -> Amounts:
    """The amounts, with a limit on time where there is one."""
    return amounts if seconds is None else {**amounts, "walltime": seconds}


def with_used(limits: Limits, used: Amounts) -> Limits:
    """The limits, with what is gone of each budget. Pure."""
    mine = {key: amount for key, amount in used.items() if key in limits.budget}
    return replace(limits, used=mine) if mine else limits


def nested(version: tuple[int, int]) -> bool:
    """Whether lists of accounts hold for accounts below in this version of Slurm."""
    return version >= NESTED_SINCE


def names(text: str) -> tuple[str, ...]:
    """A list with commas; `(null)`, `N/A` and nothing are empty."""
    return (
        () if text in ("", "(null)", "N/A", "None") else tuple(part.strip() for part in text.split(",") if part.strip())
    )


def with_groups(users: Iterable[str], groups: Iterable[str]) -> tuple[str, ...]:
    """The users of a reservation, with its groups as `@name` (`-@name`: its members may not use it)."""
    return (*users, *(f"-@{group[1:]}" if group.startswith("-") else f"@{group}" for group in groups))


def who(text: str) -> tuple[str, ...] | None:
    """Who may use it: None for `ALL` and for an empty value, which both mean all users."""
    return None if text in ("", "ALL", "(null)") else names(text)
