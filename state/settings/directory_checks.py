"""Checks the providers that the hub queries itself: `[auth.provider.ldap]`, `.pam` and `.header`.

Owns the checks of these tables. Does not know files, or whether a server can be reached: `towpath check` tests that.
"""

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from state.config.tables import GatewayConfig, HeaderConfig, LdapConfig, ProviderConfig
from state.config.urls import is_loopback, is_web_url

TLS: Final = ("verified", "unverified", "none")
SECRET_MIN: Final = 24
DEFAULT_SECRETS: Final = frozenset(
    {
        *("changeme", "change-me", "change_me", "client-secret", "client_secret", "password", "secret", "supersecret"),
        *("your-client-secret", "your-secret", "a-secret", "insert-secret-here", "not-so-secret", "admin", "ldap"),
    }
)
GROUPS: Final = ("search", "member_of", "none")
SERVER: Final = re.compile(r"ldaps?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?/?")
ATTRIBUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
FIELD: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
TAKEN: Final = frozenset(
    {
        *("authorization", "connection", "content-length", "content-type", "cookie", "expect", "forwarded", "host"),
        *("origin", "referer", "te", "transfer-encoding", "upgrade", "user-agent", "via"),
    }
)
"""Header fields with another meaning."""

Say = Callable[[str, str], None]


def groupless(provider: ProviderConfig) -> str:
    """Return the key that disables groups for a provider of these kinds; `""` if they are enabled."""
    if provider.ldap is not None and provider.ldap.groups == "none":
        return "ldap.groups"
    if provider.header is not None and not provider.header.groups_header:
        return "header.groups_header"
    return "pam.groups" if provider.pam is not None and not provider.pam.groups else ""


def portal_secret(secret: str) -> str:
    """Return what is wrong with a portal's secret; `""` if nothing is."""
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        return "it must have letters, digits and punctuation only, without spaces."
    if len(secret) < SECRET_MIN or len(set(secret)) < SECRET_MIN // 3:
        return f"it can be guessed. Use at least {SECRET_MIN} random characters, such as from `openssl rand -hex 32`."
    return ""


def directory_password(secret: str) -> str:
    """Return what is wrong with the hub's password for a directory; `""` if nothing is. Its strength is not checked."""
    if secret.lower() in DEFAULT_SECRETS:
        return "this is a placeholder. Set the hub's password for the directory."
    return ""


def ldap(config: LdapConfig, path: str, say: Say) -> None:
    """Report all errors in the table of an LDAP directory."""
    if config.tls not in TLS:
        say(f"{path}.tls", f"{config.tls!r} is not a TLS mode. Use one of: {', '.join(TLS)}.")
    if not config.servers:
        say(f"{path}.servers", "no server is set. Add one, such as ldaps://ldap.example.edu.")
    for url in config.servers:
        _server(url, config, f"{path}.servers", say)
    _hub(config, path, say)
    _entry(config, path, say)
    _groups(config, path, say)


def _server(url: str, config: LdapConfig, key: str, say: Say) -> None:
    if not SERVER.fullmatch(url) or not _port(url):
        say(key, f"{url!r} is not a server such as ldaps://ldap.example.edu or ldap://ldap.example.edu:389.")
        return
    parts = urlsplit(url)
    if config.tls == "none" and parts.scheme == "ldap" and not is_loopback(parts.hostname or ""):
        say(key, f"without TLS, others on the network to {parts.hostname} could read the passwords. Remove tls.")


def _port(url: str) -> int:
    try:
        return urlsplit(url).port or 1
    except ValueError:
        return 0


def _hub(config: LdapConfig, path: str, say: Say) -> None:
    secret = bool(config.bind_password or config.bind_password_file)
    if config.bind_password and config.bind_password_file:
        say(f"{path}.bind_password_file", "bind_password is set too. Keep one of the two.")
    if secret and not config.bind_dn:
        say(f"{path}.bind_dn", "a password is set, but not the account that it belongs to. Set this key.")
    if fault := directory_password(config.bind_password):
        say(f"{path}.bind_password", fault)
    if config.bind_dn and not secret:
        say(f"{path}.bind_password_file", f"the password of {config.bind_dn} is missing. Set it.")


def _entry(config: LdapConfig, path: str, say: Say) -> None:
    if bool(config.user_base) == bool(config.user_dn) and "=" in (config.user_dn or "="):
        say(f"{path}.user_base", "set one of user_base (a search) and user_dn (a template) to locate users.")
    if config.user_dn:
        if config.user_dn.count("{name}") != 1:
            say(f"{path}.user_dn", "it must contain {name} exactly once, for the typed name.")
        if "=" not in config.user_dn and not config.user_base:
            say(f"{path}.user_base", f"{config.user_dn!r} is not an entry's name. Set the entry below which users are.")
    _filter(config.user_filter, ("{name}",), f"{path}.user_filter", say)
    for key in ("name_attribute", "group_name"):
        attribute = getattr(config, key)
        if (attribute or key == "group_name") and not ATTRIBUTE.fullmatch(attribute):
            say(f"{path}.{key}", f"{attribute!r} is not a valid attribute name.")


def _groups(config: LdapConfig, path: str, say: Say) -> None:
    if config.groups not in GROUPS:
        say(f"{path}.groups", f"{config.groups!r} is not a way to find groups. Use one of: {', '.join(GROUPS)}.")
    elif config.groups != "none" and not config.group_base:
        say(
            f"{path}.group_base",
            "set the entry below which groups count. Elsewhere, users may be able to create groups with any name.",
        )
    _filter(config.group_filter, ("{dn}", "{name}"), f"{path}.group_filter", say)


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


def header(config: HeaderConfig, door: GatewayConfig, path: str, say: Say) -> None:
    """Report all errors in the table of a portal's header."""
    if not door.trusted_proxies:
        say("gateway.trusted_proxies", "this key is missing. Headers are trusted from these addresses only.")
    for proxy in door.trusted_proxies:
        if proxy.endswith("/0"):
            say("gateway.trusted_proxies", f"{proxy!r} contains all addresses. Set the addresses of the proxies.")
    _fields(config, path, say)
    if config.secret and config.secret_file:
        say(f"{path}.secret_file", "secret is set too. Keep one of the two.")
    if not config.secret and not config.secret_file:
        say(f"{path}.secret_file", "set the file with the secret that the portal's proxy sends.")
    if config.secret and (fault := portal_secret(config.secret)):
        say(f"{path}.secret", fault)
    if config.sign_out_url and not is_web_url(config.sign_out_url):
        say(f"{path}.sign_out_url", f"{config.sign_out_url!r} is not a URL such as https://portal.example.edu/logout.")


def _fields(config: HeaderConfig, path: str, say: Say) -> None:
    """Check that the names are valid header fields without another meaning."""
    seen: set[str] = set()
    for key in ("header", "secret_header", "groups_header"):
        name = getattr(config, key).lower()
        if key == "groups_header" and not name:
            continue
        if not FIELD.fullmatch(name) or name in TAKEN or name.startswith(("x-forwarded", "sec-")):
            say(f"{path}.{key}", f"{name!r} is not allowed. Use letters, digits and dashes, and no standard header.")
        if name in seen:
            say(f"{path}.{key}", f"{name!r} is used twice.")
        seen.add(name)
