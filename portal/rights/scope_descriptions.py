"""Descriptions of scopes for users who are asked to confirm.

Owns the texts. Does not know the caller. Pure.
"""

from collections.abc import Iterable
from typing import Final

from state.rights.scopes import WITHIN

DESCRIPTIONS: Final[dict[str, str]] = {
    "admin-ui": "open the admin page",
    "admin:users": "add, change and remove users",
    "admin:auth_state": "read users' data from the identity provider",
    "users": "read and change users",
    "delete:users": "remove users",
    "list:users": "list users",
    "read:users": "read users: name, groups, last activity",
    "read:users:name": "know users' names",
    "read:users:groups": "know users' groups",
    "read:users:activity": "know when users were last active",
    "users:activity": "record users' activity",
    "read:roles": "read who has which role",
    "read:roles:users": "read users' roles",
    "read:roles:services": "read services' roles",
    "read:roles:groups": "read groups' roles",
    "admin:servers": "start, stop and remove servers, and read their state",
    "admin:server_state": "read servers' state",
    "servers": "start, stop and see servers",
    "read:servers": "see servers",
    "start:servers": "start and change servers",
    "delete:servers": "stop and remove servers",
    "tokens": "create, see and revoke API tokens",
    "read:tokens": "see API tokens",
    "admin:groups": "create, change and remove groups",
    "groups": "read and change groups",
    "list:groups": "list groups",
    "read:groups": "read groups",
    "read:groups:name": "know groups' names",
    "delete:groups": "remove groups",
    "admin:services": "create, change and remove services",
    "list:services": "list services",
    "read:services": "read services",
    "read:services:name": "know services' names",
    "read:hub": "read about the hub itself",
    "access:servers": "open servers, with full access",
    "connect:servers": "connect to servers by SSH, with all files of the account",
    "access:services": "open services",
    "users:shares": "change what is shared with users",
    "read:users:shares": "see what is shared with users",
    "groups:shares": "change what is shared with groups",
    "read:groups:shares": "see what is shared with groups",
    "read:shares": "see who shares which server",
    "shares": "share servers, and open them",
    "proxy": "change the hub's routes",
    "shutdown": "shut the hub down",
    "read:metrics": "read the hub's metrics",
}


def descriptions(scopes: Iterable[str], user: str) -> list[str]:
    """Return a phrase for each scope that no other one contains, sorted: `start, stop and see servers of yours`."""
    held = {tuple(scope.partition("!")[::2]) for scope in scopes}
    outer = [
        (name, where)
        for name, where in held
        if not any(name != other and name in WITHIN[other] and where == other_filter for other, other_filter in held)
    ]
    return sorted(f"{DESCRIPTIONS[name]}{_where(where, user)}" for name, where in outer)


def _where(where: str, user: str) -> str:
    kind, _, value = where.partition("=")
    match kind:
        case "":
            return " (all users)"
        case "user":
            return " (yours)" if value == user else f" ({value}'s)"
        case "server":
            return f" (the server {value})"
        case _:
            return f" ({kind} {value})"
