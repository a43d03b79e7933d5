"""Who is in which group: the one way to change it.

Owns: that nobody gives by a group what they do not have, that a lost race is tried again, and the end of a group.
Refuses to know requests' bodies and pages.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from litestar.exceptions import HTTPException
from msgspec.structs import replace

from portal.rights.access import View
from portal.site.site import Site
from state.errors import ConflictError, LimitError
from state.names import user_name
from state.records.models import User
from state.rights import scopes
from state.rights.identity import Identity

TRIES: Final = 8


def check_gift(site: Site, identity: Identity, group: str) -> None:
    """Raises 403 where being in this group gives more than the caller has: they could take it for themselves."""
    gift = site.roles.scopes_of_group(group)
    if not gift <= scopes.narrow(gift, identity.scopes, user=identity.name):
        raise HTTPException(
            status_code=403, detail=f"Being in {group} gives more than you have, so you cannot put anybody into it."
        )


def check_change(site: Site, identity: Identity, old: Iterable[str], new: Iterable[str]) -> None:
    """Raises 403 where the caller may not take a user from the groups `old` to the groups `new`."""
    before, after = set(old), set(new)
    view = View(identity)
    for group in sorted(before ^ after):
        if not view.group("groups", group):
            raise HTTPException(status_code=403, detail=f"Changing who is in {group} needs the scope groups.")
    for group in sorted(after - before):
        check_gift(site, identity, group)


def check_number(site: Site, groups: Sequence[str]) -> None:
    """Raises LimitError for more groups than one user may be in."""
    limit = site.config.limits.groups_per_user
    if len(groups) > limit:
        raise LimitError(f"A user is in at most {limit} groups. Take them out of one first.")


async def check_room(site: Site, new: int = 1) -> None:
    """Raises LimitError where the hub has no room for so many new groups."""
    limit = site.config.limits.groups
    if await site.store.groups.count() + new > limit:
        raise LimitError(f"The hub has at most {limit} groups. Remove one first.")


async def people(site: Site, names: Sequence[str]) -> list[User]:
    """The users of these names. Raises 400 when one is missing, NameRuleError for what cannot be a name."""
    normal = [user_name(name) for name in dict.fromkeys(names)]
    found = await site.store.users.gather(normal)
    for name, user in zip(normal, found, strict=True):
        if user is None:
            raise HTTPException(status_code=400, detail=f"No such user: {name}")
    return [user for user in found if user is not None]


async def change(site: Site, user: User, *, join: Iterable[str] = (), leave: Iterable[str] = ()) -> User:
    """The user in and out of these groups; nothing is written where that is so already. Raises ConflictError."""
    joined, left = tuple(join), set(leave)
    current: User | None = user
    for _ in range(TRIES):
        if current is None:
            return user  # removed in the meantime: in no group
        kept = tuple(group for group in current.groups if group not in left)
        wanted = kept + tuple(group for group in joined if group not in kept)
        if wanted == current.groups:
            return current
        check_number(site, wanted)
        try:
            return await site.store.users.save(replace(current, groups=wanted))
        except ConflictError:
            current = await site.store.users.get(user.name)
    raise ConflictError(f"Others keep changing {user.name}. Try again.")


async def end(site: Site, group: str) -> bool:
    """Take everybody out of a group and remove it; False when there was none."""
    members = (await site.store.groups.members(group))[group]
    for user in await site.store.users.gather(members):
        if user is not None:
            await change(site, user, leave=(group,))
    await site.store.shares.remove_recipient(f"group:{group}")
    gone = await site.store.groups.remove(group)
    await site.store.feed.revoke(user=f"group:{group}")
    return gone
