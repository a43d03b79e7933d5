"""What can be done to users: each act once, for the API and the pages, with its checks and its audit entry.

Raises errors of `state.errors`. Does not know pages, bodies, and how a server ends.
"""

from collections.abc import Sequence
from typing import Any, Final

from litestar import Request
from msgspec.structs import replace

from portal.audit import recorder
from portal.rights.access import View, need_user, rules_admins, signed_in
from portal.servers import server_actions
from portal.site.site import Site
from portal.users import group_actions
from state.errors import InvalidError, LimitError, NotAllowedError
from state.names import group_name, user_name
from state.records.audit import Act
from state.records.models import Server, User
from state.rights.identity import Identity

AT_ONCE: Final = 200
NEW_GROUPS_MAX: Final = 100
END_SECONDS: Final = 10.0

UserEntry = tuple[User, list[Server], dict[str, float]]


async def find(
    site: Site, identity: Identity, *, part: str = "", active: bool = False, offset: int = 0, limit: int = 50
) -> tuple[list[UserEntry], int]:
    """Return the users whom the caller may list, ordered by name, and their number.

    `part`: a part of the name. `active`: only users with an active server. Of 10,000 users only those on the page are
    read, unless the caller's scope covers only some of them: then each is checked.
    """
    view = View(identity)
    if active:
        running = await site.store.servers.active()
        names = sorted({key.partition("/")[0] for key in running})
    elif not part and view.everywhere("list:users"):
        return await _shown(site, view, await site.store.users.names(offset=offset, limit=limit)), (
            await site.store.users.count()
        )
    else:
        names = await site.store.users.names()
    names = [name for name in names if part in name]
    if not view.everywhere("list:users"):
        names = [user.name for user in await _all(site, names) if view("list:users", user, None)]
    return await _shown(site, view, names[offset : offset + limit]), len(names)


async def _shown(site: Site, view: View, names: Sequence[str]) -> list[UserEntry]:
    """Return which of these users the caller may list, with the servers that it may see."""
    found = await site.store.users.many(list(names))
    return [
        (user, [server for server in servers if view("read:servers", user, server.name)], seen)
        for user, servers, seen in found
        if view("list:users", user, None)
    ]


async def _all(site: Site, names: Sequence[str]) -> list[User]:
    found: list[User] = []
    for start in range(0, len(names), AT_ONCE):
        found += [user for user in await site.store.users.gather(list(names[start : start + AT_ONCE])) if user]
    return found


async def check_room(site: Site, new: int = 1) -> None:
    """Raise LimitError if the hub has no room for so many new users."""
    limit = site.config.limits.users
    if await site.store.users.count() + new > limit:
        raise LimitError(f"The hub can have at most {limit} users. Remove users who are no longer needed.")


async def add(
    site: Site,
    request: Request[Any, Any, Any],
    names: Sequence[str],
    *,
    admin: bool = False,
    groups: Sequence[str] = (),
) -> list[User]:
    """Add users, and return the new ones. No user is added if a name is invalid.

    The caller may add users. Raises NameRuleError, NotAllowedError and LimitError.
    """
    identity = signed_in(request)
    if admin and not rules_admins(identity):
        raise NotAllowedError("Only admins with all of their rights can make other users admins.")
    memberships = _groups(groups)
    group_actions.check_change(site, identity, (), memberships)
    group_actions.check_number(site, memberships)
    users = [
        User(name=name, admin=admin, groups=memberships, created=site.clock())
        for name in dict.fromkeys(user_name(name) for name in names)
    ]
    known = await site.store.users.gather([user.name for user in users])
    await check_room(site, sum(user is None for user in known))
    added = [user for user in users if await site.store.users.add(user)]
    for user in added:
        await recorder.note(site.store, request, Act.USER_ADDED, user=user.name, what="admin" if admin else "")
    return added


async def change(
    site: Site,
    request: Request[Any, Any, Any],
    name: str,
    *,
    admin: bool | None = None,
    groups: Sequence[str] | None = None,
) -> User:
    """Make a user an admin or not, and set their groups; None leaves either as it is.

    Raises NotFoundError, NameRuleError, InvalidError, NotAllowedError, LimitError and ConflictError.
    """
    identity, user = await need_user(site, request, "admin:users", name)
    if user.admin and not rules_admins(identity):
        raise NotAllowedError("Only admins, with all of their rights, change admins.")
    if admin and not rules_admins(identity):
        raise NotAllowedError("Only admins with all of their rights can make other users admins.")
    made_admin = user.admin if admin is None else admin
    memberships = user.groups if groups is None else _groups(groups)
    if len(set(memberships) - set(user.groups)) > NEW_GROUPS_MAX:
        raise InvalidError(f"At most {NEW_GROUPS_MAX} new groups at a time.")
    group_actions.check_change(site, identity, user.groups, memberships)
    group_actions.check_number(site, memberships)
    admin_by = user.admin_by if made_admin == user.admin else ""
    changed = replace(user, admin=made_admin, admin_by=admin_by, groups=memberships)
    if changed != user:
        changed = await site.store.users.save(changed)
        await recorder.note(site.store, request, Act.USER_CHANGED, user=user.name, what=_difference(user, changed))
    return changed


async def remove(site: Site, request: Request[Any, Any, Any], name: str) -> None:
    """Stop a user's servers and remove the user, with everything of theirs on the hub.

    Waits a moment for the servers to end. Raises InvalidError while one has not, and for the caller's own account;
    NotFoundError and NotAllowedError.
    """
    identity, user = await need_user(site, request, "delete:users", name)
    if identity.is_user(user.name):
        raise InvalidError("You cannot delete yourself.")
    if user.admin and not rules_admins(identity):
        raise NotAllowedError("Only admins, with all of their rights, delete admins.")
    running = [server for server in await site.store.servers.of_user(name) if server.active]
    for server in [await server_actions.stop(site, request, name, server.name) for server in running]:
        last = await server_actions.ended(site, server, seconds=END_SECONDS) if server else None
        if last is not None and last.active:
            raise InvalidError(f"A server of {name} is still stopping. Wait a moment, then try again.")
    await site.store.tokens.revoke_all(name)
    await site.store.sessions.close_all(name)
    await site.store.users.remove(name)
    await site.store.feed.revoke(user=name)
    await recorder.note(site.store, request, Act.USER_REMOVED, user=name)


async def seen(site: Site, name: str, moment: float) -> None:
    """Record when a user was last active. It has no audit entry: it is what an app measures, not an act."""
    user = await site.store.users.get(name)
    if user is not None and (user.last_activity is None or moment > user.last_activity):
        await site.store.users.save(replace(user, last_activity=moment))


def _groups(names: Sequence[str]) -> tuple[str, ...]:
    """Return the groups' names in normal form, each once. Raises NameRuleError."""
    return tuple(dict.fromkeys(group_name(name) for name in names))


def _difference(old: User, new: User) -> str:
    """Describe for the audit what has changed."""
    changes = []
    if old.admin != new.admin:
        changes.append("is an admin now" if new.admin else "is no longer an admin")
    if old.groups != new.groups:
        changes.append(f"groups: {', '.join(new.groups) or 'none'}")
    return ", ".join(changes)
