"""Accounts of this host: looked up by name, and checked before anything is done as one."""

import grp
import os
import pwd

from batch.ssh.remote.errors import RefusedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NOBODY = (65534, 65535, 2**32 - 2, 2**32 - 1)


def find(name: str) -> "dict[str, Any]":
    """What this host knows of an account; `found` False: there is none of this very name."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return {"found": False}
    if entry.pw_name != name:
        return {"found": False}
    return {
        "found": True, "uid": entry.pw_uid, "gid": entry.pw_gid, "home": entry.pw_dir, "shell": entry.pw_shell,
        "root_group": 0 in os.getgrouplist(entry.pw_name, entry.pw_gid),
    }  # fmt: skip


def check(request: "dict[str, Any]") -> "pwd.struct_passwd":
    """The account that we are. Raises RefusedError when it is not the one that is meant, or the system's own."""
    uid = os.geteuid()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise RefusedError("account", "the uid %d has no name" % uid)
    names = [entry.pw_name]
    if entry.pw_name != request["account"]:
        try:
            names.append(pwd.getpwnam(request["account"]).pw_name)
        except KeyError:
            pass
    if request["account"] not in names or uid < request["min_uid"] or uid in NOBODY or os.getuid() != uid:
        raise RefusedError("system-account", "%s has the uid %d" % (entry.pw_name, uid))
    if 0 in os.getgroups() or os.getegid() == 0:
        raise RefusedError("system-account", "%s is in the group %s" % (entry.pw_name, grp.getgrgid(0).gr_name))
    return entry
