"""Writes the plan to the hub's store, with audit entries.

Existing records are kept and only added to, so that an import can be repeated. Does not decide what is imported.
"""

import time

from msgspec import Struct
from msgspec.structs import replace

from gateway.jupyterhub.plan import Plan
from state.account import account_name
from state.errors import ConflictError
from state.records.audit import Act, Entry
from state.records.models import User
from state.store.all import Store

TRIES = 8


class ImportCounts(Struct, frozen=True, kw_only=True):
    """How many records of each kind were new, and how many existing users were changed."""

    users: int = 0
    changed: int = 0
    groups: int = 0
    tokens: int = 0
    shares: int = 0


async def import_plan(store: Store, plan: Plan, *, write: bool) -> ImportCounts:
    """Write the plan, or with `write` False only count. Raises StateUnavailableError and ConflictError."""
    groups = await _groups(store, plan, write=write)  # first, because adding a user also adds the user's groups
    users, changed = await _users(store, plan, write=write)
    return ImportCounts(
        users=users,
        changed=changed,
        groups=groups,
        tokens=await _tokens(store, plan, write=write),
        shares=await _shares(store, plan, write=write),
    )


async def _users(store: Store, plan: Plan, *, write: bool) -> tuple[int, int]:
    new, changed = 0, 0
    before = await store.users.gather([user.name for user in plan.users])
    for user, old in zip(plan.users, before, strict=True):
        new += old is None
        changed += old is not None and merged(old, user) != old
        if write:
            await _user(store, user)
    return new, changed


async def _groups(store: Store, plan: Plan, *, write: bool) -> int:
    new = 0
    for group in plan.groups:
        old = await store.groups.get(group.name)
        new += old is None
        if write and not await store.groups.add(group):
            old = await store.groups.get(group.name)
            if old is not None and group.properties and not old.properties:
                await store.groups.save(replace(old, properties=group.properties))
    return new


async def _tokens(store: Store, plan: Plan, *, write: bool) -> int:
    new = 0
    for token, hashed in plan.tokens:
        new += not await store.imported.known(token)
        if write and await store.imported.keep(token, hashed):
            await _note(store, Act.TOKEN_MADE, token.user, f"token {token.id}, imported from JupyterHub")
    return new


async def _shares(store: Store, plan: Plan, *, write: bool) -> int:
    new = 0
    for share in plan.shares:
        existing = {(one.server, one.key): one for one in await store.shares.of_owner(share.owner)}
        held = existing.get((share.server, share.key))
        if held is not None and set(share.scopes) <= set(held.scopes):
            continue
        new += 1
        if write:
            await store.shares.grant(share)
            await _note(store, Act.SHARE_MADE, share.owner, f"with {share.key}, imported from JupyterHub")
    return new


def merged(old: User, imported: User) -> User:
    """Return an existing user with the rights and groups from JupyterHub added; nothing is removed. Pure."""
    return replace(
        old,
        admin=old.admin or imported.admin,
        groups=tuple(dict.fromkeys((*old.groups, *imported.groups))),
        created=min(old.created, imported.created),
    )


async def _user(store: Store, imported: User) -> None:
    for _ in range(TRIES):
        old = await store.users.get(imported.name)
        if old is None:
            if await store.users.add(imported):
                admin = ", admin" if imported.admin else ""
                await _note(store, Act.USER_ADDED, imported.name, f"imported from JupyterHub{admin}")
                return
            continue
        updated = merged(old, imported)
        if updated == old:
            return
        try:
            await store.users.save(updated)
        except ConflictError:
            continue
        await _note(store, Act.USER_CHANGED, imported.name, "rights and groups imported from JupyterHub")
        return
    raise ConflictError(f"The user {imported.name} kept changing. Run the import again.")


async def _note(store: Store, act: Act, user: str, what: str) -> None:
    entry = Entry(time=time.time(), act=act, who=account_name(), by="command line", user=user, what=what)
    await store.audit.note(entry)
