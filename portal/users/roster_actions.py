"""A roster becomes the members of a group: all of it, or nothing.

Owns: that every line is judged before anybody is touched, and what has come of it. Refuses to know CSV
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
    """The roster was not used. `lines`: what is wrong, as (line, sentence)."""

    def __init__(self, lines: tuple[tuple[int, str], ...]) -> None:
        super().__init__("; ".join(f"line {line}: {words}" for line, words in lines[:20]))
        self.lines = lines


class Outcome(Struct, frozen=True):
    """What has come of it, as names: who was put in, who was taken out, and of whom the hub had not heard."""

    joined: tuple[str, ...]
    left: tuple[str, ...]
    made: tuple[str, ...]


async def use(site: Site, request: Request[Any, Any, Any], group: str, text: str, *, replace: bool) -> Outcome:
    """Put everybody in the roster into the group; `replace`: and everybody else out of it.

    The caller may change the group. People whom the hub does not know yet are made where the caller may make users.
    The same roster again changes nothing: one that a lost store cut short is sent again. Raises RosterError, and 403
    where being in the group gives more than the caller has.
    """
    identity = signed_in(request)
    group_actions.check_gift(site, identity, group)
    wanted = roster.read(text)
    known = dict(zip(wanted.names, await site.store.users.gather(list(wanted.names)), strict=True))
    new = [name for name, user in known.items() if user is None]
    faults = list(wanted.faults)
    if new and not View(identity).everywhere("admin:users"):
        faults += [(wanted.lines[name], f"{name} has never been on this hub.") for name in new]
    if faults:
        raise RosterError(tuple(sorted(faults)))
    joined = [name for name, user in known.items() if user is None or group not in user.groups]
    for name in new:
        await site.store.users.add(User(name=name, groups=(group,), created=site.clock()))
    for user in known.values():
        if user is not None:
            await group_actions.change(site, user, join=(group,))
    left = await _leavers(site, group, set(wanted.names)) if replace else []
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
