"""Rules for names, and the paths that follow from names.

Owns which user, server and group names are valid, the key `user/name` of a server, and the path prefix of a server.
Does not know where names come from.

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
"""The domain of the names in the hub's own certificates. It exists in no DNS."""
GATEWAY_NAME = f"gateway.{INTERNAL_DOMAIN}"
REPORTS_NAME = f"reports.{INTERNAL_DOMAIN}"

_APP_PATHS = """
api bundle consoles custom doc edit extensions files hub interactive kernelspecs lab login logo logout lsp mathjax
metrics nbconvert nbextensions notebook notebooks proxy retro services settings static terminals themes tree user view
voila workspaces
"""
APP_PATHS = frozenset(_APP_PATHS.split())
"""First segments of a Jupyter server's own paths. A named server of that name would hide them.

Sources: the handlers of jupyter_server 2.20, jupyterlab 4.6, notebook 7.6, jupyterhub-singleuser 6.1 and of the
extensions jupyter-lsp, jupyter-server-proxy, RetroLab and Voila.
"""

_SYSTEM = """
root toor daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats nobody nogroup _apt adm
operator shutdown halt ftp ssh sshd dbus messagebus polkitd avahi chrony ntp postfix bind named tss uuidd munge slurm
slurmd slurmrestd mysql mariadb postgres redis valkey nginx apache httpd docker ldap openldap sssd rpc rpcuser nfsnobody
towpath
"""
SYSTEM_NAMES = frozenset(_SYSTEM.split())
"""System accounts, as Debian, Red Hat and common daemons name them. They cannot be users of the hub."""


def is_system(name: str) -> bool:
    """Return whether this is the name of a system account. Only a cluster knows an account's user id."""
    return name in SYSTEM_NAMES or name.startswith("systemd-")


def user_name(raw: str) -> str:
    """Normalize a user's name (NFKC, lowercase) and check it.

    Raises NameRuleError if it is empty, longer than 64 characters, or would need escaping anywhere.
    """
    name = unicodedata.normalize("NFKC", raw).strip().lower()
    if len(name) > USER_NAME_MAX or not USER_NAME.fullmatch(name):
        raise NameRuleError(
            "A username has 1 to 64 letters, digits or the characters _ . @ + - and begins with a letter, a digit or _."
        )
    return name


def as_listed(raw: str) -> str:
    """Return the key of a provider's name in a table of names: lowercase if the name is ASCII.

    Other names stay unchanged: some letters outside ASCII have a lowercase form in ASCII (the Kelvin sign), and would
    match the name of another user.
    """
    return raw.lower() if raw.isascii() else raw


def new_server_name(raw: str) -> str:
    """Check the name of a server that is to be created: also not a path of a Jupyter server. Raises NameRuleError."""
    if raw in APP_PATHS:
        raise NameRuleError(f"{raw} is an address of the default server's own pages. Use another name.")
    return server_name(raw)


def server_name(raw: str) -> str:
    """Check the name of a server. `""` is the default server. Raises NameRuleError."""
    if raw == "":
        return raw
    if len(raw) > SERVER_NAME_MAX or not SERVER_NAME.fullmatch(raw):
        raise NameRuleError(
            "A server name has at most 30 lowercase letters, digits and single dashes, and begins with a letter."
        )
    return raw


def group_name(raw: str) -> str:
    """Normalize a group's name (NFKC) and check it. Raises NameRuleError.

    Identity providers use spaces, paths and uppercase letters in names of groups, so all printable characters are
    allowed.
    """
    name = unicodedata.normalize("NFKC", raw).strip()
    if not name or len(name) > GROUP_NAME_MAX or not name.isprintable():
        raise NameRuleError(f"A group name has 1 to {GROUP_NAME_MAX} printable characters.")
    return name


def server_key(user: str, name: str) -> str:
    """Return `user/name`: the key of a server in every index, log line and job comment."""
    return f"{user}/{name}"


def split_server_key(key: str) -> tuple[str, str]:
    """Split a server's key into user and name."""
    user, _, name = key.partition("/")
    return user, name


def attempt_of(name: str) -> str:
    """Return the attempt in the name of a node; the inverse of `node_name`."""
    return name.removesuffix(f".{INTERNAL_DOMAIN}")


def node_name(attempt: str) -> str:
    """Return the name in the certificate of an attempt's node."""
    return f"{attempt}.{INTERNAL_DOMAIN}"


def escape(name: str) -> str:
    """Escape a name as one path segment. Unreserved characters and `@` stay (as in JupyterHub)."""
    return quote(name, safe="@")


def server_path(base_path: str, user: str, name: str) -> str:
    """Return the path prefix of a server, with a trailing slash: `/user/alice/` or `/user/alice/lab/`."""
    path = f"{base_path}user/{escape(user)}/"
    return f"{path}{escape(name)}/" if name else path
