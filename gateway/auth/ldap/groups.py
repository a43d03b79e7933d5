"""Finds the groups of a user, including nested groups.

Owns the walk from group to group, and its limits. Does not know about connections: the caller passes functions. Only
groups below the configured base count, because users may be able to create groups of any name elsewhere.
"""

import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from gateway.auth.ldap.client import Entry
from gateway.auth.ldap.dn import under
from state.errors import NameRuleError
from state.names import group_name

log = logging.getLogger("towpath.ldap")

DEPTH: Final = 10
"""Maximum depth of nested groups."""
MOST: Final = 1000
"""Maximum number of groups of a user."""

FindParents = Callable[[Sequence[str]], Awaitable[list[Entry]]]
"""Returns the groups of which the entries with the given names are members."""


async def walk(first: list[Entry], further: FindParents, *, base: str, nested: bool) -> list[Entry]:
    """Return the `first` groups and all groups that contain them, without duplicates, in the order of discovery.

    Loops are detected. Groups beyond the limits are left out and logged; this can only withhold rights.
    """
    known: dict[str, Entry] = {}
    fresh = first
    for _ in range(DEPTH):
        new = {entry.dn.casefold(): entry for entry in fresh if under(entry.dn, base)}
        new = {key: entry for key, entry in new.items() if key not in known}
        known |= new
        if not new or not nested or len(known) >= MOST:
            break
        fresh = await further([entry.dn for entry in new.values()])
    else:
        log.warning("Groups nested too deeply were ignored: max_depth=%d group=%.200r", DEPTH, next(iter(known)))
    if len(known) > MOST:
        log.warning("A user has too many groups and some were ignored: groups=%d max=%d", len(known), MOST)
    return list(known.values())[:MOST]


def names_of(groups: list[Entry], attribute: str) -> tuple[str, ...]:
    """Return the names of the groups in alphabetical order, without groups that have no name or several."""
    named = set()
    for group in groups:
        values = group.get(attribute)
        with contextlib.suppress(NameRuleError):
            named |= {group_name(value) for value in values if len(values) == 1}
    return tuple(sorted(named))
