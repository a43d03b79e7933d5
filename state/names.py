"""The rules for names, and how a name becomes a path.

Owns: which user and server names there may be, the server's key `user/name`, and the path prefix at
which a server is reached. Refuses to know where names come from.

Sources: JupyterHub 6.1 (server names `^[a-z](-?[a-z0-9])*$`, at most 30), RFC 3986 section 2.3.
"""

import re
import unicodedata
from urllib.parse import quote

from state.errors import NameRuleError

SERVER_NAME = re.compile(r"[a-z](-?[a-z0-9])*")
SERVER_NAME_MAX = 30
USER_NAME = re.compile(r"[a-z0-9_][a-z0-9_.@+-]*")
USER_NAME_MAX = 64
GROUP_NAME_MAX = 255
INTERNAL_DOMAIN = "towpath.internal"
"""The domain of the names in the hub's own certificates. No DNS server knows it."""
GATEWAY_NAME = f"gateway.{INTERNAL_DOMAIN}"
REPORTS_NAME = f"reports.{INTERNAL_DOMAIN}"

_SYSTEM = """
root toor daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats nobody nogroup _apt adm
operator shutdown halt ftp ssh sshd dbus messagebus polkitd avahi chrony ntp postfix bind named tss uuidd munge slurm
slurmd slurmrestd mysql mariadb postgres redis valkey nginx apache httpd docker ldap openldap sssd rpc rpcuser nfsnobody
towpath
"""
SYSTEM_NAMES = frozenset(_SYSTEM.split())
"""Accounts that run a machine, under Debian's, Red Hat's and the usual daemons' names: no person has one of these."""


def is_system(name: str) -> bool:
    """Whether a name is a system account's, by what it is called: its user id only a cluster knows."""
    return name in SYSTEM_NAMES or name.startswith("systemd-")


def user_name(raw: str) -> str:
    """Normalise a user's name once (NFKC, lower case) and check it.

    Raises NameRuleError when it is empty, longer than 64, or needs escaping anywhere.
    """
    name = unicodedata.normalize("NFKC", raw).strip().lower()
    if len(name) > USER_NAME_MAX or not USER_NAME.fullmatch(name):
        raise NameRuleError(
            "A user's name is 1 to 64 letters, digits, or the characters _ . @ + - ,"
            " and begins with a letter, a digit or _."
        )
    return name


def as_listed(raw: str) -> str:
    """A provider's name for somebody as it stands in a table of names: in small letters, where that is harmless.

    Letters outside ASCII stay as they are: some have a small letter that is ASCII (the Kelvin sign), and would be taken
    for somebody else's.
    """
    return raw.lower() if raw.isascii() else raw


def server_name(raw: str) -> str:
    """Check a named server's name; `""` is the default server. Raises NameRuleError."""
    if raw == "":
        return raw
    if len(raw) > SERVER_NAME_MAX or not SERVER_NAME.fullmatch(raw):
        raise NameRuleError(
            "A server's name is at most 30 small letters, digits and single dashes, and begins with a letter."
        )
    return raw


def group_name(raw: str) -> str:
    """Normalise a group's name once (NFKC) and check it. Raises NameRuleError.

    Providers name groups as they like (spaces, paths, capitals): whatever is printable may stand in one.
    """
    name = unicodedata.normalize("NFKC", raw).strip()
    if not name or len(name) > GROUP_NAME_MAX or not name.isprintable():
        raise NameRuleError(f"A group's name is 1 to {GROUP_NAME_MAX} printable characters.")
    return name


def server_key(user: str, name: str) -> str:
    """`user/name`: the key of a server in every index, log line and job comment."""
    return f"{user}/{name}"


def split_server_key(key: str) -> tuple[str, str]:
    """The inverse of `server_key`."""
    user, _, name = key.partition("/")
    return user, name


def node_name(attempt: str) -> str:
    """The name that the node of an attempt proves with its certificate."""
    return f"{attempt}.{INTERNAL_DOMAIN}"


def escape(name: str) -> str:
    """One path segment for a name: percent-encoded but for unreserved characters and `@` (as JupyterHub)."""
    return quote(name, safe="@")


def server_path(base_path: str, user: str, name: str) -> str:
    """The path prefix of a server, with a slash at the end: `/user/alice/` or `/user/alice/lab/`."""
    path = f"{base_path}user/{escape(user)}/"
    return f"{path}{escape(name)}/" if name else path
