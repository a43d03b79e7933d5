"""Who is in the Unix groups that partitions let in (AllowGroups).

Owns looking groups up, and how long an account's own group is remembered. Does not know what a partition is.

Slurm asks for the same names on the host of slurmctld (slurm.conf(5), AllowGroups): the hub's host must know them, or
the login nodes over which it reaches Slurm.
"""

import asyncio
import grp
import pwd
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, Protocol

REMEMBERED: Final = 3600.0
"""Seconds for which an account's own group is not asked for again: there may be 10,000 accounts."""


class GroupLookup(Protocol):
    """Where groups are looked up. `place`: a name of that machine, which begins a sentence."""

    @property
    def place(self) -> str:
        """See the class."""
        ...

    async def members(
        self, names: Collection[str], users: Collection[str]
    ) -> tuple[Mapping[str, frozenset[str]], frozenset[str]]:
        """Group → members, and the names that are none. `users`: whose accounts' own groups count too."""
        ...


class Groups:
    """Looks groups up on this machine. Blocks: a directory may be slow.

    `lookup`: a group's id and members, None: no such group.
    """

    place = "The hub's host"

    def __init__(
        self,
        lookup: Callable[[str], tuple[int, tuple[str, ...]] | None] | None = None,
        own: Callable[[str], int | None] | None = None,
    ) -> None:
        self._lookup = lookup or _lookup
        self._own = own or _own
        self._known: dict[str, tuple[float, int | None]] = {}

    async def members(
        self, names: Collection[str], users: Collection[str]
    ) -> tuple[Mapping[str, frozenset[str]], frozenset[str]]:
        """See the Protocol. A directory may take its time: not in the event loop."""
        return await asyncio.to_thread(self.of, names, users)

    def of(self, names: Iterable[str], users: Iterable[str]) -> tuple[Mapping[str, frozenset[str]], frozenset[str]]:
        """Group → members, and the names that are none. `users`: whose accounts' own groups count too."""
        found: dict[str, frozenset[str]] = {}
        gids: dict[int, str] = {}
        missing = set()
        for name in set(names):
            group = self._lookup(name)
            if group is None:
                missing.add(name)
                continue
            gids[group[0]] = name
            found[name] = frozenset(group[1])
        if gids:
            for user in users:
                gid = self._gid(user)
                if gid in gids:
                    found[gids[gid]] |= {user}
        return found, frozenset(missing)

    def _gid(self, user: str) -> int | None:
        now = time.monotonic()
        at, gid = self._known.get(user, (0.0, None))
        if user not in self._known or now - at > REMEMBERED:
            gid = self._own(user)
            self._known[user] = now, gid
        return gid


def _lookup(name: str) -> tuple[int, tuple[str, ...]] | None:
    try:
        group = grp.getgrnam(name)
    except (KeyError, OSError):
        return None
    return group.gr_gid, tuple(group.gr_mem)


def _own(user: str) -> int | None:
    try:
        return pwd.getpwnam(user).pw_gid
    except (KeyError, OSError):
        return None
