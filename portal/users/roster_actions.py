"""Applies a roster to the members of a group, completely or not at all.

Owns the check of all lines before any user is changed, and the outcome. Does not know about CSV
(`state.records.roster`), requests and pages.
"""

from typing import Any

from litestar import Request
from msgspec import Struct

from portal.audit import recorder
from portal.rights.access import View, signed_in
from portal.site.site import Site
from portal.users import group_actions
from state.errors import TowpathError
from state.records import roster
from state.records.audit import Act
from state.records.models import User


class RosterError(TowpathError):
    """The roster was not applied. `lines`: the errors, as (line, message)."""

    def __init__(self, lines: tuple[tuple[int, str], ...]) -> None:
        super().__init__("; ".join(f"line {line}: {message}" for line, message in lines[:20]))
        self.lines = lines


class Outcome(Struct, frozen=True):
    """The outcome, as names: users who were added, users who were removed, and names without a user."""

    joined: tuple[str, ...]
    left: tuple[str, ...]
    made: tuple[str, ...]


async def use(site: Site, request: Request[Any, Any, Any], group: str, text: str, *, replace: bool) -> Outcome:
    """Add all users in the roster to the group; `replace`: remove all other members.

    The caller may change the group. Users who do not exist are created if the caller may create users.
    Applying the same roster again changes nothing, so one that was interrupted can be sent again. Raises RosterError,
    and 403 if membership of the group gives more rights than the caller has.
    """
    identity = signed_in(request)
    group_actions.check_gift(site, identity, group)
    listed = roster.read(text)
    known = dict(zip(listed.names, await site.store.users.gather(list(listed.names)), strict=True))
    new = [name for name, user in known.items() if user is None]
    faults = list(listed.faults)
    if new and not View(identity).everywhere("admin:users"):
        faults += [(listed.lines[name], f"{name} has never been on this hub.") for name in new]
    if faults:
        raise RosterError(tuple(sorted(faults)))
    joined = [name for name, user in known.items() if user is None or group not in user.groups]
    for name in new:
        await site.store.users.add(User(name=name, groups=(group,), created=site.clock()))
    for user in known.values():
        if user is not None:
            await group_actions.change(site, user, join=(group,))
    left = await _leavers(site, group, set(listed.names)) if replace else []
    for user in left:
        await group_actions.change(site, user, leave=(group,))
    outcome = Outcome(tuple(joined), tuple(user.name for user in left), tuple(new))
    what = f"{group}: a roster; {len(outcome.joined)} in, {len(outcome.left)} out, {len(outcome.made)} new"
    await recorder.note(site.store, request, Act.GROUP_CHANGED, what=what)
    return outcome


async def _leavers(site: Site, group: str, stay: set[str]) -> list[User]:
    members = (await site.store.groups.members(group))[group]
    found = await site.store.users.gather([name for name in members if name not in stay])
    return [user for user in found if user is not None]
