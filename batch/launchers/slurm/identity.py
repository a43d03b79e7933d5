"""From a hub's user to the Unix account that their jobs run as.

Owns which accounts may have jobs: those with the user's name that are not system accounts. Does not know how a
process becomes that account (`batch.launchers.slurm.clients`).

An account whose shell is nologin is not refused: hosts of a hub often give every account that shell (SSSD's
`override_shell`), and a batch job needs no login. Sign-in and Slurm's accounting reject users who have left.
"""

import os
import pwd
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from msgspec import Struct

from batch.contract import LauncherError
from state.errors import NameRuleError
from state.names import user_name

LEAST_UID: Final = 1000
"""Below are the system's accounts (login.defs(5), UID_MIN)."""
NOBODY: Final = frozenset({65534, 65535, 2**32 - 2, 2**32 - 1})
"""What kernels and NFS give to files of accounts that they do not know."""


class Identity(Struct, frozen=True, kw_only=True):
    """An account as setuid needs it."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str

    @property
    def environment(self) -> dict[str, str]:
        """What login(1) would set."""
        return {"HOME": self.home, "USER": self.name, "LOGNAME": self.name, "SHELL": self.shell or "/bin/sh"}


def identity_of(
    user: str,
    *,
    min_uid: int = LEAST_UID,
    lookup: Callable[[str], pwd.struct_passwd] = pwd.getpwnam,
    every: Callable[[], Iterable[pwd.struct_passwd]] = pwd.getpwall,
) -> Identity:
    """The account of a hub's user on this machine. Blocks: names may come from a directory service.

    Raises LauncherError if there is none, or if it is a system account: nothing has been run then.
    """
    try:
        try:
            accounts = [lookup(user)]
        except KeyError:
            accounts = [account for account in every() if hub_user(account.pw_name) == user]
        found = [_identity(account) for account in accounts]
    except OSError as error:
        raise LauncherError("Accounts cannot be looked up just now.", transient=True, code="account-lookup") from error
    return the_one(user, found, min_uid=min_uid)


def _identity(account: pwd.struct_passwd) -> Identity:
    return Identity(
        name=account.pw_name,
        uid=account.pw_uid,
        gid=account.pw_gid,
        groups=tuple(sorted(set(os.getgrouplist(account.pw_name, account.pw_gid)))),
        home=account.pw_dir,
        shell=account.pw_shell,
    )


def the_one(user: str, found: Sequence[Identity], *, min_uid: int = LEAST_UID) -> Identity:
    """The account of a hub's user: the one of that name, or those whose names differ from it only in case. Pure.

    Raises LauncherError if there is none, if there are several, or if it is a system account.
    """
    if len(found) > 1:
        raise _refused(
            f"The cluster has several accounts whose names differ from {user!r} only in upper and lower case."
        )
    if not found:
        raise _refused(f"The cluster has no account named {user!r}.")
    account = found[0]
    if hub_user(account.name) != user:
        raise _refused(f"The account that answers to {user!r} has another name.")
    if account.uid < max(min_uid, LEAST_UID) or account.uid in NOBODY or account.gid == 0:
        raise _refused(f"The account {user!r} is a system account and cannot have servers.")
    if not account.home.startswith("/") or "\0" in account.home:
        raise _refused(f"The account {user!r} has no home.")
    if 0 in account.groups:
        raise _refused(f"The account {user!r} is in the group root and cannot have servers.")
    return account


def user_of(uid: int) -> str:
    """The name of an account; its number where it has none, as in a container."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def same_user(account: str, user: str) -> bool:
    """Whether a job of that account may be that hub user's."""
    return user != "" and hub_user(account) == user


def hub_user(name: str) -> str:
    """The hub's user whom an account of that name belongs to; `""`: none."""
    try:
        return user_name(name)
    except NameRuleError:
        return ""


def _refused(sentence: str) -> LauncherError:
    return LauncherError(sentence, transient=False, code="no-account", hint="Ask the cluster's admins.")
