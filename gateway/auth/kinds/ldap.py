"""The kind `ldap`: a directory, and the table that says where users and their groups are in it."""

import re
from typing import Annotated, Final
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from gateway.auth.kinds.secrets import PLACEHOLDERS
from state.config.urls import is_loopback
from state.plugins.authenticators import GROUPS_OFF, AuthenticatorKind
from state.plugins.options import Say

TLS: Final = ("verified", "unverified", "none")
GROUPS: Final = ("search", "member_of", "none")
SERVER: Final = re.compile(r"ldaps?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?/?")
ATTRIBUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*")


class LdapConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[auth.provider.ldap]`: a directory (Active Directory, OpenLDAP, 389, FreeIPA).

    Set `user_base` to search for the user's entry, or `user_dn` to derive the entry from the name.
    """

    servers: tuple[str, ...] = ()
    """ldaps://HOST[:PORT], or ldap://HOST[:PORT] with StartTLS. They are tried in this order."""
    tls: str = "verified"
    """`verified`; `unverified`: any certificate is accepted; `none`: no TLS, only on this machine."""
    ca_file: str = ""
    """A file with the certificate authority of the servers. Empty: those that this machine trusts."""
    bind_dn: str = ""
    """The DN with which the hub searches. Empty: anonymous."""
    bind_password: str = ""
    bind_password_file: str = ""
    user_base: str = ""
    """The entry below which users are, such as ou=people,dc=example,dc=edu."""
    user_filter: str = "(uid={name})"
    """The filter that finds the entry of a typed name. It must match exactly one. For Active Directory:

    (&(objectClass=user)(sAMAccountName={name})).
    """
    user_dn: str = ""
    """Instead of a search: uid={name},ou=people,dc=example,dc=edu, or for Active Directory {name}@ad.example.edu."""
    name_attribute: str = "uid"
    """The attribute with the username; it must have one value. Empty: the typed name."""
    groups: str = "none"
    """How groups are found: `search` (with `group_filter`), `member_of` (an attribute of entries) or `none`.
    """
    group_base: str = ""
    """The entry below which groups count."""
    group_filter: str = "(member={dn})"
    """The filter that finds a user's groups, with the entry's {dn} or the {name}: (memberUid={name}) for posixGroup."""
    group_name: str = "cn"
    """The attribute with the group's name."""
    nested_groups: bool = True
    """Whether members of a group are also in the groups that contain it."""
    refresh: Annotated[int, Meta(ge=0)] = 300
    """Seconds between checks of the entry of a signed-in user; 0: never."""
    timeout: Annotated[float, Meta(gt=0, le=60)] = 10.0
    """Seconds to wait for one server."""


def check(options: LdapConfig, path: str, say: Say) -> None:
    """Report all errors in the table of an LDAP directory."""
    if options.tls not in TLS:
        say(f"{path}.tls", f"{options.tls!r} is not a TLS mode. Use one of: {', '.join(TLS)}.")
    if not options.servers:
        say(f"{path}.servers", "no server is set. Add one, such as ldaps://ldap.example.edu.")
    for url in options.servers:
        _server(url, options, f"{path}.servers", say)
    _hub(options, path, say)
    _entry(options, path, say)
    _groups(options, path, say)


def _server(url: str, options: LdapConfig, key: str, say: Say) -> None:
    if not SERVER.fullmatch(url) or not _port(url):
        say(key, f"{url!r} is not a server such as ldaps://ldap.example.edu or ldap://ldap.example.edu:389.")
        return
    parts = urlsplit(url)
    if options.tls == "none" and parts.scheme == "ldap" and not is_loopback(parts.hostname or ""):
        say(key, f"without TLS, others on the network to {parts.hostname} could read the passwords. Remove tls.")


def _port(url: str) -> int:
    try:
        return urlsplit(url).port or 1
    except ValueError:
        return 0


def _hub(options: LdapConfig, path: str, say: Say) -> None:
    secret = bool(options.bind_password or options.bind_password_file)
    if options.bind_password and options.bind_password_file:
        say(f"{path}.bind_password_file", "bind_password is set too. Keep one of the two.")
    if secret and not options.bind_dn:
        say(f"{path}.bind_dn", "a password is set, but not the account that it belongs to. Set this key.")
    if fault := directory_password(options.bind_password):
        say(f"{path}.bind_password", fault)
    if options.bind_dn and not secret:
        say(f"{path}.bind_password_file", f"the password of {options.bind_dn} is missing. Set it.")


def _entry(options: LdapConfig, path: str, say: Say) -> None:
    if bool(options.user_base) == bool(options.user_dn) and "=" in (options.user_dn or "="):
        say(f"{path}.user_base", "set one of user_base (a search) and user_dn (a template) to locate users.")
    if options.user_dn:
        if options.user_dn.count("{name}") != 1:
            say(f"{path}.user_dn", "it must contain {name} exactly once, for the typed name.")
        if "=" not in options.user_dn and not options.user_base:
            why = f"user_dn {options.user_dn!r} is not a DN, so the hub must also search for the user's entry."
            say(f"{path}.user_base", f"{why} Set the entry below which users are.")
    _filter(options.user_filter, ("{name}",), f"{path}.user_filter", say)
    for key in ("name_attribute", "group_name"):
        attribute = getattr(options, key)
        if (attribute or key == "group_name") and not ATTRIBUTE.fullmatch(attribute):
            say(f"{path}.{key}", f"{attribute!r} is not a valid attribute name.")


def _groups(options: LdapConfig, path: str, say: Say) -> None:
    if options.groups not in GROUPS:
        say(f"{path}.groups", f"{options.groups!r} is not a way to find groups. Use one of: {', '.join(GROUPS)}.")
    elif options.groups != "none" and not options.group_base:
        say(
            f"{path}.group_base",
            "set the entry below which groups count. Elsewhere, users may be able to create groups with any name.",
        )
    _filter(options.group_filter, ("{dn}", "{name}"), f"{path}.group_filter", say)


def _filter(text: str, placeholders: tuple[str, ...], key: str, say: Say) -> None:
    """Check that a filter is valid and contains one of the placeholders."""
    if not any(placeholder in text for placeholder in placeholders):
        say(key, f"it must contain {' or '.join(placeholders)}. Otherwise it is the same for all users.")
    depth = 0
    for character in re.sub(r"\\[0-9A-Fa-f]{2}", "", text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            break
    if depth or not text.startswith("(") or not text.endswith(")"):
        say(
            key,
            f"{text!r} is not a filter such as {'(uid={name})' if placeholders[0] == '{name}' else '(member={dn})'}.",
        )


def directory_password(secret: str) -> str:
    """Return what is wrong with the hub's password for a directory; `""` if nothing is. Its strength is not checked."""
    if secret.lower() in PLACEHOLDERS:
        return "this is a placeholder. Set the hub's password for the directory."
    return ""


def groups_fault(options: LdapConfig) -> tuple[str, str] | None:
    """Return the key that disables groups; None: they are known."""
    return ("groups", GROUPS_OFF) if options.groups == "none" else None


def secret_fault(key: str, secret: str, options: LdapConfig) -> str:
    """Return what is wrong with a secret from a file; `""`: nothing."""
    del options
    return directory_password(secret) if key == "bind_password" else ""


KIND: Final = AuthenticatorKind(
    name="ldap",
    proof="gateway.auth.ldap.provider:open_ldap",
    options=LdapConfig,
    check=check,
    needs_table=True,
    refresh=lambda options: options.refresh,
    groups_fault=groups_fault,
    secret_fault=secret_fault,
    probe="gateway.auth.ldap.probe:probe",
)
