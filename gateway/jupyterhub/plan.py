"""What becomes of what a JupyterHub left: decided before anything is written, so that it can be shown first. Pure.

Owns: which people, groups, tokens and shares are carried over, and for each that is not, why. Refuses to know files and
stores.
"""

import hashlib
import time
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from gateway.jupyterhub.source import Duty, Found, Gift, Key
from state.errors import NameRuleError
from state.names import is_system, server_key, server_name, user_name
from state.records.models import Group, Share, Token, User
from state.rights import scopes
from state.rights.roles import BUILT_IN, Roles
from state.store.imported import Hashed

CLIENT: Final = "jupyterhub"
"""The OAuth client of tokens that people made themselves."""
NOTE_MAX: Final = 200


class Left(Struct, frozen=True, order=True):
    """What is not carried over: what it is, and why."""

    what: str
    why: str


class Plan(Struct, frozen=True, kw_only=True):
    """What is written, and what is left. `roles`: as tables for the configuration, where roles live here."""

    users: tuple[User, ...]
    groups: tuple[Group, ...]
    tokens: tuple[tuple[Token, Hashed], ...]
    shares: tuple[Share, ...]
    roles: str
    left: tuple[Left, ...]


def plan(found: Found, roles: Roles, *, now: float | None = None) -> Plan:
    """Decide. `roles`: those of this hub's configuration; `now`: seconds since the epoch."""
    at = time.time() if now is None else now
    left: list[Left] = []
    names: dict[str, str] = {}
    for person in found.people:
        if name := _name(person.name, names, left):
            names[person.name] = name
    users = tuple(
        User(
            name=names[person.name],
            admin=person.admin or "admin" in person.roles,
            groups=tuple(group for group in person.groups if _is_group(group)),
            created=person.created or at,
            last_activity=person.last_activity,
        )
        for person in found.people
        if person.name in names
    )
    groups = tuple(Group(name=team.name, properties=team.properties) for team in found.teams if _is_group(team.name))
    left += [
        Left(f"group {team.name[:64]!r}", "its name has characters that nobody can see, or is too long")
        for team in found.teams
        if not _is_group(team.name)
    ]
    by_name = {user.name: user for user in users}
    tokens = []
    for key in found.keys:
        owner = by_name.get(names.get(key.user, ""))
        why = _token_fault(key, owner, at)
        if why or owner is None:
            left.append(Left(f"token {key.id} of {key.user or 'a service'}", why))
            continue
        asked = key.scopes or ("inherit",)
        granted = (
            frozenset({"inherit"})
            if "inherit" in asked
            else scopes.narrow(asked, roles.scopes_of_user(owner), user=owner.name)
        )
        tokens.append((_token(key, owner, granted, at), Hashed.read(key.hashed, key.prefix)))
    shares = []
    for gift in found.gifts:
        share = _share(gift, names, at)
        if isinstance(share, Left):
            left.append(share)
        else:
            shares.append(share)
    left += _left_there(found)
    left += _roles_left(found, names)
    return Plan(
        users=users,
        groups=groups,
        tokens=tuple(tokens),
        shares=tuple(shares),
        roles=_tables(found, names),
        left=tuple(left),
    )


def _name(raw: str, taken: Mapping[str, str], left: list[Left]) -> str:
    """Somebody's name here; `""`: they are left, and that is said."""
    try:
        name = user_name(raw)
    except NameRuleError as error:
        left.append(Left(f"user {raw[:64]!r}", str(error)))
        return ""
    if is_system(name):
        left.append(Left(f"user {name}", "that is an account of the system"))
        return ""
    if name in taken.values():
        left.append(Left(f"user {raw[:64]!r}", f"{name} is there already, in another spelling"))
        return ""
    return name


def _is_group(name: str) -> bool:
    return 0 < len(name) <= 255 and name.isprintable() and name == name.strip()  # noqa: PLR2004 - as JupyterHub


def _token_fault(key: Key, owner: User | None, now: float) -> str:
    """Why a token cannot be carried over; `""`: it can."""
    if not key.user:
        return "services have their tokens in files that the configuration names"
    if owner is None:
        return "its owner is not carried over"
    if key.client != CLIENT or key.session:
        return "it was made by a sign-in to a server, which makes a new one"
    if key.expires is not None and key.expires <= now:
        return "it has expired"
    if Hashed.fault(key.hashed, key.prefix):
        return Hashed.fault(key.hashed, key.prefix)
    return ""


def _token(key: Key, owner: User, granted: frozenset[str], now: float) -> Token:
    note = "".join(character for character in key.note if character.isprintable())
    return Token(
        id=f"jupyterhub-{hashlib.sha256(key.hashed.encode()).hexdigest()[:12]}",
        user=owner.name,
        scopes=tuple(sorted(granted)),
        note=note[:NOTE_MAX] or "from JupyterHub",
        created=key.created or now,
        expires=key.expires,
        last_activity=key.last_activity,
    )


def _share(gift: Gift, names: Mapping[str, str], now: float) -> Share | Left:
    """A share as it is here."""
    label = f"share of {gift.owner}/{gift.server} with {gift.user or gift.group}"
    owner, user = names.get(gift.owner, ""), names.get(gift.user, "")
    if not owner or (gift.user and not user) or (not gift.user and not _is_group(gift.group)):
        return Left(label, "one of the two is not carried over")
    if gift.expires is not None:
        return Left(label, "it ends at a time, which shares here do not: share again, by a code that ends")
    try:
        server_name(gift.server)
    except NameRuleError as error:
        return Left(label, str(error))
    here = f"!server={server_key(owner, gift.server)}"
    kept = tuple(
        sorted({scope.partition("!")[0] + here for scope in gift.scopes if scopes.known(scope.partition("!")[0])})
    )
    if not kept:
        return Left(label, "it gives nothing that there is here")
    group = "" if user else gift.group
    return Share(owner=owner, server=gift.server, user=user, group=group, scopes=kept, created=gift.created or now)


def _left_there(found: Found) -> list[Left]:
    """What is never carried over, as far as it is there."""
    left = [
        Left(f"service {name}", "services are named in the configuration ([[service]]), with a token file")
        for name in found.services
    ]
    counted = (
        (found.servers, "named servers", "their jobs are JupyterHub's: people start them again here"),
        (found.running, "running servers", "they are JupyterHub's until it stops them"),
        (found.signed, "states of sign-ins", "only JupyterHub can read them: people sign in anew"),
        (found.codes, "share codes", "only their salted hashes are known: make new ones"),
    )
    return left + [Left(f"{number} {what}", why) for number, what, why in counted if number]


def _roles_left(found: Found, names: Mapping[str, str]) -> list[Left]:
    """The roles, or who has them, that no table says."""
    left = [
        Left(f"role {duty.name}", "nobody who is carried over has it")
        for duty in found.duties
        if duty.name not in BUILT_IN and not any(_holders(found, duty, names))
    ]
    left += [
        Left(f"role admin of the group {team.name}", "a group makes admins by a provider's admin_groups here")
        for team in found.teams
        if "admin" in team.roles
    ]
    return left


def _holders(found: Found, duty: Duty, names: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The people and the groups who are carried over and have a role."""
    people = [names[person.name] for person in found.people if duty.name in person.roles and person.name in names]
    return people, [team.name for team in found.teams if duty.name in team.roles]


def _tables(found: Found, names: Mapping[str, str]) -> str:
    """The roles that JupyterHub had beside its own, as [[role]] tables, and who has them; and `user`, if changed."""
    text = []
    for duty in found.duties:
        people, teams = _holders(found, duty, names)
        rows = [f"name = {_quoted(duty.name)}"]
        if duty.name == "user" and set(duty.scopes) != set(BUILT_IN["user"].scopes):
            rows.append(f"scopes = {_list(duty.scopes)}")
        elif duty.name in BUILT_IN or not (people or teams):
            continue
        else:
            rows += [f"description = {_quoted(duty.description)}", f"scopes = {_list(duty.scopes)}"]
            rows += [f"users = {_list(people)}", f"groups = {_list(teams)}"]
        text.append("\n".join(("[[role]]", *rows)))
    return "\n\n".join(text)


def _list(values: list[str] | tuple[str, ...]) -> str:
    return f"[{', '.join(_quoted(value) for value in values)}]"


def _quoted(text: str) -> str:
    """A TOML basic string."""
    plain = "".join(c if c.isprintable() and c not in '"\\' else f"\\u{ord(c):04x}" for c in text)
    return f'"{plain}"'
