"""What the admin's pages do to people: find, add, change, remove.

Owns: these acts, each checked against the caller's rights and noted. Refuses to know pages, and how a server ends.
"""

from collections.abc import Sequence
from typing import Any, Final

from litestar import Request
from litestar.exceptions import HTTPException
from msgspec.structs import replace

from portal.audit import recorder
from portal.rights.access import View, need, need_user, rules_admins
from portal.servers import server_actions
from portal.site.site import Site
from portal.users import group_actions
from state.errors import LimitError, NameRuleError
from state.names import group_name, user_name
from state.records.audit import Act
from state.records.models import Server, User
from state.rights.identity import Identity

AT_ONCE: Final = 200
ADDED_MOST: Final = 200
GROUPS_MOST: Final = 100
END_SECONDS: Final = 10.0

Person = tuple[User, list[Server], dict[str, float]]


async def find(
    site: Site, identity: Identity, *, part: str = "", active: bool = False, offset: int = 0, limit: int = 50
) -> tuple[list[Person], int]:
    """People whom the caller may list, by name, and how many there are.

    `part`: of their name. `active`: with a server that has not ended. Of 10,000 people only those that are shown are
    read, but for a caller whose right is over some of them: then each is looked at.
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


async def _shown(site: Site, view: View, names: Sequence[str]) -> list[Person]:
    """Those of these people whom the caller may list; of their servers those that they may see."""
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
    """Raises LimitError where the hub has no room for so many new users."""
    limit = site.config.limits.users
    if await site.store.users.count() + new > limit:
        raise LimitError(f"The hub has at most {limit} users. Remove some that are not needed.")


async def add(site: Site, request: Request[Any, Any, Any], typed: str, *, admin: bool) -> list[str]:
    """Add the people whose names were typed, with white space or commas between; the names of those who are new.

    Raises 400 for a name that is none: then nobody is added.
    """
    identity = need(request, "admin:users")
    if admin and not rules_admins(identity):
        raise HTTPException(status_code=403, detail="Only admins make admins.")
    words = dict.fromkeys(typed.replace(",", " ").split())
    if not words or len(words) > ADDED_MOST:
        raise HTTPException(status_code=400, detail=f"Type 1 to {ADDED_MOST} names, with spaces or lines between.")
    names = []
    for word in words:
        try:
            names.append(user_name(word))
        except NameRuleError as error:
            raise HTTPException(status_code=400, detail=f"{word[:64]!r} cannot be a name. {error}") from error
    added = []
    await check_room(site, sum(user is None for user in await site.store.users.gather(names)))
    for name in names:
        if await site.store.users.add(User(name=name, admin=admin, created=site.clock())):
            await recorder.note(site.store, request, Act.USER_ADDED, user=name, what="admin" if admin else "")
            added.append(name)
    return added


async def change(site: Site, request: Request[Any, Any, Any], name: str, *, admin: bool, groups: str) -> User:
    """Make somebody an admin or none, and set their groups. Only admins do this. Raises 400, 403, ConflictError.

    `groups`: one a line, for a name may hold whatever is printable. Split at spaces, `guests admins` would be two.
    """
    identity, user = await need_user(site, request, "admin:users", name)
    if not rules_admins(identity):
        raise HTTPException(status_code=403, detail="Only admins change admins and groups here.")
    if user.admin and not admin and identity.is_user(user.name):
        raise HTTPException(status_code=400, detail="You cannot take your own rights: another admin can.")
    try:
        wanted = tuple(dict.fromkeys(group_name(line) for line in groups.splitlines() if line.strip()))
    except NameRuleError as error:
        raise HTTPException(status_code=400, detail=str(error)) from error
    if len(set(wanted) - set(user.groups)) > GROUPS_MOST:
        raise HTTPException(status_code=400, detail=f"At most {GROUPS_MOST} new groups at a time.")
    group_actions.check_change(site, identity, user.groups, wanted)
    group_actions.check_number(site, wanted)
    admin_by = user.admin_by if admin == user.admin else ""
    changed = replace(user, admin=admin, admin_by=admin_by, groups=wanted)
    if changed != user:
        changed = await site.store.users.save(changed)
        words = [] if user.admin == admin else ["is an admin now" if admin else "is no admin any more"]
        words += [] if user.groups == wanted else [f"groups: {', '.join(wanted) or 'none'}"]
        await recorder.note(site.store, request, Act.USER_CHANGED, user=user.name, what=", ".join(words))
    return changed


async def remove(site: Site, request: Request[Any, Any, Any], name: str) -> None:
    """Stop their servers and remove somebody, with all that is theirs on the hub. Raises 400 and 403."""
    identity, user = await need_user(site, request, "delete:users", name)
    if identity.is_user(user.name):
        raise HTTPException(status_code=400, detail="You cannot remove yourself.")
    if user.admin and not rules_admins(identity):
        raise HTTPException(status_code=403, detail="Only admins remove admins.")
    running = [server for server in await site.store.servers.of_user(name) if server.active]
    for server in [await server_actions.stop(site, name, server.name) for server in running]:
        last = await server_actions.ended(site, server, seconds=END_SECONDS) if server else None
        if last is not None and last.active:
            raise HTTPException(status_code=400, detail=f"A server of {name} is stopping. Wait, then try again.")
    await site.store.users.remove(name)
    await recorder.note(site.store, request, Act.USER_REMOVED, user=name)
