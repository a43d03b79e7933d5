"""What can be done to groups: each act once, for the API and the pages, with its audit entry.

Nobody can give by a group what they do not have, and a lost race is tried again. Does not know bodies and pages.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from litestar import Request
from msgspec.structs import replace

from portal.audit import recorder
from portal.rights.access import View, signed_in
from portal.site.site import Site
from state.errors import ConflictError, InvalidError, LimitError, NotAllowedError
from state.names import user_name
from state.records.audit import Act
from state.records.models import Group, User
from state.rights import scopes
from state.rights.identity import Identity

TRIES: Final = 8
PROPERTIES_MAX: Final = 64 * 1024


def check_gift(site: Site, identity: Identity, group: str) -> None:
    """Raise NotAllowedError if membership of this group would give more than the caller has."""
    gift = site.roles.scopes_of_group(group)
    if not gift <= scopes.narrow(gift, identity.scopes, user=identity.name):
        raise NotAllowedError(f"Members of {group} have rights that you do not have, so you cannot add users to it.")


def check_change(site: Site, identity: Identity, old: Iterable[str], new: Iterable[str]) -> None:
    """Raise NotAllowedError if the caller may not move a user from the groups `old` to the groups `new`."""
    before, after = set(old), set(new)
    view = View(identity)
    for group in sorted(before ^ after):
        if not view.group("groups", group):
            raise NotAllowedError(f"Changing the members of {group} needs the scope groups.")
    for group in sorted(after - before):
        check_gift(site, identity, group)


def check_number(site: Site, groups: Sequence[str]) -> None:
    """Raise LimitError for more groups than one user may be in."""
    limit = site.config.limits.groups_per_user
    if len(groups) > limit:
        raise LimitError(f"A user can be in at most {limit} groups. Remove the user from a group first.")


async def check_room(site: Site, new: int = 1) -> None:
    """Raise LimitError if the hub has no room for so many new groups."""
    limit = site.config.limits.groups
    if await site.store.groups.count() + new > limit:
        raise LimitError(f"The hub can have at most {limit} groups. Remove one first.")


async def existing_users(site: Site, names: Sequence[str]) -> list[User]:
    """Return the users of these names. Raises InvalidError if one does not exist, and NameRuleError."""
    normal = [user_name(name) for name in dict.fromkeys(names)]
    found = await site.store.users.gather(normal)
    for name, user in zip(normal, found, strict=True):
        if user is None:
            raise InvalidError(f"No such user: {name}")
    return [user for user in found if user is not None]


async def change(site: Site, user: User, *, join: Iterable[str] = (), leave: Iterable[str] = ()) -> User:
    """Put the user into and out of these groups, and return their record. Raises ConflictError and LimitError."""
    joined, left = tuple(join), set(leave)
    current: User | None = user
    for _ in range(TRIES):
        if current is None:
            return user  # removed in the meantime
        kept = tuple(group for group in current.groups if group not in left)
        new_groups = kept + tuple(group for group in joined if group not in kept)
        if new_groups == current.groups:
            return current
        check_number(site, new_groups)
        try:
            return await site.store.users.save(replace(current, groups=new_groups))
        except ConflictError:
            current = await site.store.users.get(user.name)
    raise ConflictError(f"Someone else is changing {user.name}. Try again in a moment.")


async def make(site: Site, request: Request[Any, Any, Any], name: str, users: Sequence[str]) -> None:
    """Create a group with these members. Raises ConflictError, InvalidError, LimitError and NotAllowedError."""
    if users:
        check_gift(site, signed_in(request), name)
    members = await existing_users(site, users)
    await check_room(site)
    if not await site.store.groups.add(Group(name=name)):
        raise ConflictError(f"Group {name} already exists.")
    await recorder.note(site.store, request, Act.GROUP_CHANGED, what=f"{name} is made")
    await _join(site, request, members, name)


async def add_members(site: Site, request: Request[Any, Any, Any], name: str, users: Sequence[str]) -> None:
    """Add users to a group. Raises InvalidError and NotAllowedError."""
    check_gift(site, signed_in(request), name)
    await _join(site, request, await existing_users(site, users), name)


async def remove_members(site: Site, request: Request[Any, Any, Any], name: str, users: Sequence[str]) -> None:
    """Remove users from a group. Raises InvalidError."""
    for user in await existing_users(site, users):
        await change(site, user, leave=(name,))
        await recorder.note(site.store, request, Act.GROUP_CHANGED, user=user.name, what=f"out of {name}")


async def describe(site: Site, request: Request[Any, Any, Any], group: Group, properties: dict[str, Any]) -> None:
    """Replace a group's properties. Raises InvalidError if they are too large."""
    if len(msgspec.json.encode(properties)) > PROPERTIES_MAX:
        raise InvalidError(f"Properties are at most {PROPERTIES_MAX} bytes as JSON.")
    await site.store.groups.save(replace(group, properties=properties))
    await recorder.note(site.store, request, Act.GROUP_CHANGED, what=f"properties of {group.name}")


async def remove(site: Site, request: Request[Any, Any, Any], name: str) -> None:
    """Take all members out of a group and delete it, with what was shared with it."""
    members = (await site.store.groups.members(name))[name]
    for user in await site.store.users.gather(members):
        if user is not None:
            await change(site, user, leave=(name,))
    await site.store.shares.remove_recipient(f"group:{name}")
    await site.store.groups.remove(name)
    await site.store.feed.revoke(user=f"group:{name}")
    await recorder.note(site.store, request, Act.GROUP_CHANGED, what=f"{name} is removed")


async def _join(site: Site, request: Request[Any, Any, Any], users: Iterable[User], name: str) -> None:
    for user in users:
        await change(site, user, join=(name,))
        await recorder.note(site.store, request, Act.GROUP_CHANGED, user=user.name, what=f"into {name}")
