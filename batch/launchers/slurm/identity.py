"""From a hub's user to the Unix account that their jobs run as.

Owns which accounts may have jobs: those with the user's name that are not system accounts. Does not know how a
process becomes that account (`batch.launchers.slurm.clients.cli`).

An account whose shell is nologin is not refused: hosts of a hub often give every account that shell (SSSD's
`override_shell`), and a batch job needs no login. Sign-in and Slurm's accounting reject users who have left.
"""

import grp
import os
import pwd
from collections.abc import Callable, Iterable
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
    """The account of a hub's user. Blocks: names may come from a directory service.

    Raises LauncherError if there is none, or if it is a system account: nothing has been run then.
    """
    try:
        account = _account_of(user, lookup, every)
    except OSError as error:
        raise LauncherError("Accounts cannot be looked up just now.", transient=True, code="account-lookup") from error
    if hub_user(account.pw_name) != user:
        raise _refused(f"The account that answers to {user!r} has another name.")
    if account.pw_uid < max(min_uid, LEAST_UID) or account.pw_uid in NOBODY or account.pw_gid == 0:
        raise _refused(f"The account {user!r} is one of the system's own: it cannot have notebooks.")
    if not account.pw_dir.startswith("/") or "\0" in account.pw_dir:
        raise _refused(f"The account {user!r} has no home.")
    try:
        groups = tuple(sorted(set(os.getgrouplist(account.pw_name, account.pw_gid))))
    except OSError as error:
        raise LauncherError("Groups cannot be looked up just now.", transient=True, code="account-lookup") from error
    if 0 in groups:
        raise _refused(f"The account {user!r} is in the group {grp.getgrgid(0).gr_name}: it cannot have notebooks.")
    return Identity(
        name=account.pw_name,
        uid=account.pw_uid,
        gid=account.pw_gid,
        groups=groups,
        home=account.pw_dir,
        shell=account.pw_shell,
    )


def _account_of(
    user: str, lookup: Callable[[str], pwd.struct_passwd], every: Callable[[], Iterable[pwd.struct_passwd]]
) -> pwd.struct_passwd:
    """The account of that name; else the only one whose name differs from it only in case."""
    try:
        return lookup(user)
    except KeyError:
        alike = {account.pw_name: account for account in every() if hub_user(account.pw_name) == user}
    if len(alike) > 1:
        raise _refused(
            f"The cluster has several accounts whose names differ from {user!r} only in upper and lower case."
        )
    for account in alike.values():
        return account
    raise _refused(f"The cluster has no account named {user!r}.")


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
    return LauncherError(sentence, transient=False, code="no-account", hint="Ask the cluster's administrator.")
