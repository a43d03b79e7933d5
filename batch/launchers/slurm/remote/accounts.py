"""Accounts and groups as this login node knows them."""

import grp
import os
import pwd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Sequence


def accounts(name: str) -> "List[Dict[str, Any]]":
    """The account of this name; else those whose names differ from it only in case."""
    try:
        found = [pwd.getpwnam(name)]
    except KeyError:
        found = [entry for entry in pwd.getpwall() if entry.pw_name.lower() == name.lower()]
    return [
        {
            "name": entry.pw_name,
            "uid": entry.pw_uid,
            "gid": entry.pw_gid,
            "groups": sorted(set(os.getgrouplist(entry.pw_name, entry.pw_gid))),
            "home": entry.pw_dir,
            "shell": entry.pw_shell,
        }
        for entry in found
    ]


def groups(names: "Sequence[str]") -> "Dict[str, Any]":
    """Group → its id and its members; a name that is none is left out."""
    found = {}
    for name in names:
        try:
            group = grp.getgrnam(name)
        except KeyError:
            continue
        found[name] = [group.gr_gid, list(group.gr_mem)]
    return found


def own_groups(users: "Sequence[str]") -> "Dict[str, Optional[int]]":
    """User → the id of the account's own group; None: there is no such account."""
    found = {}  # type: Dict[str, Optional[int]]
    for user in users:
        try:
            found[user] = pwd.getpwnam(user).pw_gid
        except KeyError:
            found[user] = None
    return found
