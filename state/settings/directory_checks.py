"""What can be wrong with the providers that the hub asks itself: `[auth.provider.ldap]`, `.pam` and `.header`.

Owns: the checks on these tables. Refuses to know files, and whether anything answers: `towpath check` asks.
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
"""Header fields that mean something else."""

Say = Callable[[str, str], None]


def groupless(provider: ProviderConfig) -> str:
    """The key by which a provider of these kinds knows no groups; `""`: it does."""
    if provider.ldap is not None and provider.ldap.groups == "none":
        return "ldap.groups"
    if provider.header is not None and not provider.header.groups_header:
        return "header.groups_header"
    return "pam.groups" if provider.pam is not None and not provider.pam.groups else ""


def portal_secret(secret: str) -> str:
    """Why a portal's secret is none, in a sentence; `""`: it is one."""
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        return "it must be letters, digits and punctuation without spaces, as a header can hold."
    if len(secret) < SECRET_MIN or len(set(secret)) < SECRET_MIN // 3:
        return f"it can be guessed: take at least {SECRET_MIN} random characters, such as from: openssl rand -hex 32."
    return ""


def directory_password(secret: str) -> str:
    """Why the hub's password at a directory is none, in a sentence; `""`: it is one. Not how good: others chose it."""
    if secret.lower() in DEFAULT_SECRETS:
        return "that is a placeholder: write the password that the hub has at the directory."
    return ""


def ldap(given: LdapConfig, at: str, say: Say) -> None:
    """A directory."""
    if given.tls not in TLS:
        say(f"{at}.tls", f"{given.tls!r} is not a way to speak to a directory; there is: {', '.join(TLS)}.")
    if not given.servers:
        say(f"{at}.servers", "no server is named, such as ldaps://ldap.example.edu.")
    for url in given.servers:
        _server(url, given, f"{at}.servers", say)
    _hub(given, at, say)
    _person(given, at, say)
    _groups(given, at, say)


def _server(url: str, given: LdapConfig, key: str, say: Say) -> None:
    if not SERVER.fullmatch(url) or not _port(url):
        say(key, f"{url!r} is no server such as ldaps://ldap.example.edu, or ldap://ldap.example.edu:389.")
        return
    parts = urlsplit(url)
    if given.tls == "none" and parts.scheme == "ldap" and not is_loopback(parts.hostname or ""):
        say(key, f"without TLS everybody on the way to {parts.hostname} could read the passwords: leave tls away.")


def _port(url: str) -> int:
    try:
        return urlsplit(url).port or 1
    except ValueError:
        return 0


def _hub(given: LdapConfig, at: str, say: Say) -> None:
    secret = bool(given.bind_password or given.bind_password_file)
    if given.bind_password and given.bind_password_file:
        say(f"{at}.bind_password_file", "bind_password is given too: keep one of the two.")
    if secret and not given.bind_dn:
        say(f"{at}.bind_dn", "there is a password, and nobody whose it is.")
    if fault := directory_password(given.bind_password):
        say(f"{at}.bind_password", fault)
    if given.bind_dn and not secret:
        say(f"{at}.bind_password_file", f"the password of {given.bind_dn} is missing.")


def _person(given: LdapConfig, at: str, say: Say) -> None:
    if bool(given.user_base) == bool(given.user_dn) and "=" in (given.user_dn or "="):
        say(f"{at}.user_base", "one of user_base (a search) and user_dn (a template) says where people are.")
    if given.user_dn:
        if given.user_dn.count("{name}") != 1:
            say(f"{at}.user_dn", "{name} must stand in it once, for what is typed.")
        if "=" not in given.user_dn and not given.user_base:
            say(f"{at}.user_base", f"{given.user_dn!r} is not an entry's name: say below which entry theirs is.")
    _filter(given.user_filter, ("{name}",), f"{at}.user_filter", say)
    for key in ("name_attribute", "group_name"):
        attribute = getattr(given, key)
        if (attribute or key == "group_name") and not ATTRIBUTE.fullmatch(attribute):
            say(f"{at}.{key}", f"{attribute!r} cannot be an attribute's name.")


def _groups(given: LdapConfig, at: str, say: Say) -> None:
    if given.groups not in GROUPS:
        say(f"{at}.groups", f"{given.groups!r} is not a way to find groups; there is: {', '.join(GROUPS)}.")
    elif given.groups != "none" and not given.group_base:
        say(
            f"{at}.group_base",
            "say below which entry groups count: elsewhere people may make groups of any name.",
        )
    _filter(given.group_filter, ("{dn}", "{name}"), f"{at}.group_filter", say)


def _filter(text: str, wanted: tuple[str, ...], key: str, say: Say) -> None:
    """One that can be read, and asks for somebody."""
    if not any(word in text for word in wanted):
        say(key, f"{' or '.join(wanted)} must stand in it: otherwise it is the same for everybody.")
    depth = 0
    for character in re.sub(r"\\[0-9A-Fa-f]{2}", "", text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            break
    if depth or not text.startswith("(") or not text.endswith(")"):
        say(key, f"{text!r} is no filter such as {'(uid={name})' if wanted[0] == '{name}' else '(member={dn})'}.")


def header(given: HeaderConfig, door: GatewayConfig, at: str, say: Say) -> None:
    """A portal's proxy."""
    if not door.trusted_proxies:
        say("gateway.trusted_proxies", "a header is believed only from these, and there are none.")
    for proxy in door.trusted_proxies:
        if proxy.endswith("/0"):
            say("gateway.trusted_proxies", f"{proxy!r} is everybody: name the addresses of the proxies.")
    _fields(given, at, say)
    if given.secret and given.secret_file:
        say(f"{at}.secret_file", "secret is given too: keep one of the two.")
    if not given.secret and not given.secret_file:
        say(f"{at}.secret_file", "name the file that holds the secret which the portal's proxy sends too.")
    if given.secret and (fault := portal_secret(given.secret)):
        say(f"{at}.secret", fault)
    if given.sign_out_url and not is_web_url(given.sign_out_url):
        say(f"{at}.sign_out_url", f"{given.sign_out_url!r} is not a URL such as https://portal.example.edu/logout.")


def _fields(given: HeaderConfig, at: str, say: Say) -> None:
    """Names of header fields that mean nothing else."""
    seen: set[str] = set()
    for key in ("header", "secret_header", "groups_header"):
        name = getattr(given, key).lower()
        if key == "groups_header" and not name:
            continue
        if not FIELD.fullmatch(name) or name in TAKEN or name.startswith(("x-forwarded", "sec-")):
            say(f"{at}.{key}", f"{name!r} cannot be that header: letters, digits and dashes, with no other meaning.")
        if name in seen:
            say(f"{at}.{key}", f"{name!r} is there twice.")
        seen.add(name)
