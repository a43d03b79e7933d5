"""Unix groups as login nodes know them. Owns how long what they say is remembered."""

import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final

from msgspec import Struct

from batch.launchers.slurm.catalog.groups import REMEMBERED


class FoundGroups(Struct):
    """Group → id and members; account → id of its own group."""

    groups: dict[str, tuple[int, list[str]]]
    own: dict[str, int | None]


Ask = Callable[[Collection[str], Collection[str]], Awaitable[FoundGroups]]
"""Asks a node for groups and for the own groups of accounts. Raises LauncherError."""


class LoginNodeGroups:
    """See `batch.launchers.slurm.catalog.groups.GroupLookup`."""

    place: Final = "The login node"

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._known: dict[str, tuple[float, int | None]] = {}

    async def members(
        self, names: Collection[str], users: Collection[str]
    ) -> tuple[Mapping[str, frozenset[str]], frozenset[str]]:
        """See the Protocol. One request; an account's own group is requested once an hour."""
        now = time.monotonic()
        new = [user for user in users if user not in self._known or now - self._known[user][0] > REMEMBERED]
        answer = await self._ask(names, new)
        self._known |= {user: (now, gid) for user, gid in answer.own.items()}
        of = {gid: name for name, (gid, _) in answer.groups.items()}
        found = {name: set(members) for name, (_, members) in answer.groups.items()}
        for user in users:
            _, gid = self._known.get(user, (now, None))
            if gid is not None and gid in of:
                found[of[gid]].add(user)
        return {name: frozenset(members) for name, members in found.items()}, frozenset(names) - found.keys()
