"""Decides what is imported from a JupyterHub, before anything is written, so that it can be shown first. Pure.

Owns which users, groups, tokens and shares are imported, and the reason for each that is not. Does not know about files
and stores.
"""

import hashlib
import time
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from gateway.jupyterhub.source import Database, RoleRow, ShareRow, TokenRow
from state.errors import NameRuleError
from state.names import is_system, new_server_name, server_key, user_name
from state.records.models import Group, Share, Token, User
from state.rights import scopes
from state.rights.roles import BUILT_IN, Roles
from state.store.imported import Hashed

CLIENT: Final = "jupyterhub"
"""The OAuth client id of tokens that users created themselves."""
NOTE_MAX: Final = 200


class Skipped(Struct, frozen=True, order=True):
    """Something that is not imported, and the reason."""

    entry: str
    reason: str


class Plan(Struct, frozen=True, kw_only=True):
    """What is imported and what is skipped. `roles` are TOML tables for the configuration, which defines roles here."""

    users: tuple[User, ...]
    groups: tuple[Group, ...]
    tokens: tuple[tuple[Token, Hashed], ...]
    shares: tuple[Share, ...]
    roles: str
    skipped: tuple[Skipped, ...]


def plan(database: Database, roles: Roles, *, now: float | None = None) -> Plan:
    """Decide what is imported. `roles`: of this hub's configuration. `now`: seconds since the epoch."""
    at = time.time() if now is None else now
    skipped: list[Skipped] = []
    names: dict[str, str] = {}
    for row in database.users:
        if name := _name(row.name, names, skipped):
            names[row.name] = name
    users = tuple(
        User(
            name=names[row.name],
            admin=row.admin or "admin" in row.roles,
            groups=tuple(group for group in row.groups if _is_group(group)),
            created=row.created or at,
            last_activity=row.last_activity,
        )
        for row in database.users
        if row.name in names
    )
    groups = tuple(Group(name=row.name, properties=row.properties) for row in database.groups if _is_group(row.name))
    skipped += [
        Skipped(f"group {row.name[:64]!r}", "its name has invisible characters, or is too long")
        for row in database.groups
        if not _is_group(row.name)
    ]
    by_name = {user.name: user for user in users}
    tokens = []
    for token in database.tokens:
        owner = by_name.get(names.get(token.user, ""))
        why = _token_fault(token, owner, at)
        if why or owner is None:
            skipped.append(Skipped(f"token {token.id} of {token.user or 'a service'}", why))
            continue
        requested = token.scopes or ("inherit",)
        granted = (
            frozenset({"inherit"})
            if "inherit" in requested
            else scopes.narrow(requested, roles.scopes_of_user(owner), user=owner.name)
        )
        tokens.append((_token(token, owner, granted, at), Hashed.read(token.hashed, token.prefix)))
    shares = []
    for share_row in database.shares:
        share = _share(share_row, names, at)
        if isinstance(share, Skipped):
            skipped.append(share)
        else:
            shares.append(share)
    skipped += _never_imported(database)
    skipped += _skipped_roles(database, names)
    return Plan(
        users=users,
        groups=groups,
        tokens=tuple(tokens),
        shares=tuple(shares),
        roles=_tables(database, names),
        skipped=tuple(skipped),
    )


def _name(raw: str, names: Mapping[str, str], skipped: list[Skipped]) -> str:
    """Return the user's name on this hub, or `""` after adding the user to `skipped`."""
    try:
        name = user_name(raw)
    except NameRuleError as error:
        skipped.append(Skipped(f"user {raw[:64]!r}", str(error)))
        return ""
    if is_system(name):
        skipped.append(Skipped(f"user {name}", "this is a system account"))
        return ""
    if name in names.values():
        skipped.append(Skipped(f"user {raw[:64]!r}", f"{name} exists already, in another spelling"))
        return ""
    return name


def _is_group(name: str) -> bool:
    return 0 < len(name) <= 255 and name.isprintable() and name == name.strip()  # noqa: PLR2004 - as JupyterHub


def _token_fault(row: TokenRow, owner: User | None, now: float) -> str:
    """Return why a token cannot be imported, or `""` if it can."""
    if not row.user:
        return "tokens of services are in files that the configuration names"
    if owner is None:
        return "its owner is not imported"
    if row.client != CLIENT or row.session:
        return "it belongs to a sign-in to a server, which creates a new one"
    if row.expires is not None and row.expires <= now:
        return "it has expired"
    if Hashed.fault(row.hashed, row.prefix):
        return Hashed.fault(row.hashed, row.prefix)
    return ""


def _token(row: TokenRow, owner: User, granted: frozenset[str], now: float) -> Token:
    note = "".join(character for character in row.note if character.isprintable())
    return Token(
        id=f"jupyterhub-{hashlib.sha256(row.hashed.encode()).hexdigest()[:12]}",
        user=owner.name,
        scopes=tuple(sorted(granted)),
        note=note[:NOTE_MAX] or "from JupyterHub",
        created=row.created or now,
        expires=row.expires,
        last_activity=row.last_activity,
    )


def _share(row: ShareRow, names: Mapping[str, str], now: float) -> Share | Skipped:
    """Return the share on this hub, or why it is skipped."""
    label = f"share of {row.owner}/{row.server} with {row.user or row.group}"
    owner, user = names.get(row.owner, ""), names.get(row.user, "")
    if not owner or (row.user and not user) or (not row.user and not _is_group(row.group)):
        return Skipped(label, "one of the two is not imported")
    if row.expires is not None:
        return Skipped(label, "it expires, and shares here do not: share again with a code that expires")
    try:
        new_server_name(row.server)
    except NameRuleError as error:
        return Skipped(label, str(error))
    server_filter = f"!server={server_key(owner, row.server)}"
    kept = tuple(
        sorted(
            {scope.partition("!")[0] + server_filter for scope in row.scopes if scopes.known(scope.partition("!")[0])}
        )
    )
    if not kept:
        return Skipped(label, "none of its scopes exists here")
    group = "" if user else row.group
    return Share(owner=owner, server=row.server, user=user, group=group, scopes=kept, created=row.created or now)


def _never_imported(database: Database) -> list[Skipped]:
    """Return what is never imported, if the database has it."""
    skipped = [
        Skipped(f"service {name}", "services are in the configuration ([[service]]), with a token file")
        for name in database.services
    ]
    counted = (
        (database.servers, "named servers", "their jobs belong to JupyterHub; users start them again here"),
        (database.running, "running servers", "they belong to JupyterHub until it stops them"),
        (database.auth_states, "sign-in states", "only JupyterHub can decrypt them; users sign in again"),
        (database.codes, "share codes", "only their salted hashes are known; create new ones"),
    )
    return skipped + [Skipped(f"{number} {what}", why) for number, what, why in counted if number]


def _skipped_roles(database: Database, names: Mapping[str, str]) -> list[Skipped]:
    """Return the roles, or their holders, that the printed tables leave out."""
    skipped = [
        Skipped(f"role {role.name}", "no imported user or group has it")
        for role in database.roles
        if role.name not in BUILT_IN and not any(_holders(database, role, names))
    ]
    skipped += [
        Skipped(f"role admin of the group {group.name}", "here a provider's admin_groups gives a group the admin right")
        for group in database.groups
        if "admin" in group.roles
    ]
    return skipped


def _holders(database: Database, role: RoleRow, names: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the imported users and the groups that have a role."""
    users = [names[user.name] for user in database.users if role.name in user.roles and user.name in names]
    return users, [group.name for group in database.groups if role.name in group.roles]


def _tables(database: Database, names: Mapping[str, str]) -> str:
    """Return JupyterHub's custom roles and their holders as [[role]] tables, with `user` if it was changed."""
    text = []
    for role in database.roles:
        users, groups = _holders(database, role, names)
        rows = [f"name = {_quoted(role.name)}"]
        if role.name == "user" and set(role.scopes) != set(BUILT_IN["user"].scopes):
            rows.append(f"scopes = {_list(role.scopes)}")
        elif role.name in BUILT_IN or not (users or groups):
            continue
        else:
            rows += [f"description = {_quoted(role.description)}", f"scopes = {_list(role.scopes)}"]
            rows += [f"users = {_list(users)}", f"groups = {_list(groups)}"]
        text.append("\n".join(("[[role]]", *rows)))
    return "\n\n".join(text)


def _list(values: list[str] | tuple[str, ...]) -> str:
    return f"[{', '.join(_quoted(value) for value in values)}]"


def _quoted(text: str) -> str:
    """Return a TOML basic string."""
    plain = "".join(c if c.isprintable() and c not in '"\\' else f"\\u{ord(c):04x}" for c in text)
    return f'"{plain}"'
