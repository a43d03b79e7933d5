"""Which groups somebody is in, groups within groups included.

Owns: the walk from group to group, with its bounds. Refuses to know connections: it is handed two questions.
Only groups below the configured base count: elsewhere in a directory people may make groups of any name.
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
"""How many groups deep a membership is followed."""
MOST: Final = 1000
"""How many groups somebody may be in."""

Ask = Callable[[Sequence[str]], Awaitable[list[Entry]]]
"""From the names of entries to entries of groups."""


async def walk(first: list[Entry], further: Ask, *, base: str, nested: bool) -> list[Entry]:
    """All groups that follow from the `first`, each once, in the order in which they were found.

    `further`: the groups of which some groups are members. Loops end; what is deeper or more than the bounds is left
    out, and said in the log: it can only give rights.
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
        log.warning("Groups nested deeper than %d are left out, such as those of %.200r", DEPTH, next(iter(known)))
    if len(known) > MOST:
        log.warning("Of %d groups of one person, only %d count", len(known), MOST)
    return list(known.values())[:MOST]


def names_of(groups: list[Entry], attribute: str) -> tuple[str, ...]:
    """The groups' names, in alphabetical order; a group with none, or with several, has no name here."""
    named = set()
    for group in groups:
        values = group.get(attribute)
        with contextlib.suppress(NameRuleError):
            named |= {group_name(value) for value in values if len(values) == 1}
    return tuple(sorted(named))
