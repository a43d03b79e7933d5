"""The kind `header`: a portal in front of the hub names the user, and the table that says how, and who may."""

import re
from typing import Annotated, Final

from msgspec import Meta, Struct

from gateway.auth.kinds.secrets import guessable
from state.config.tables import Config, ProviderConfig
from state.config.urls import is_web_url
from state.plugins.authenticators import GROUPS_OFF, AuthenticatorKind
from state.plugins.options import Say

SECRET_MIN: Final = 24
FIELD: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
TAKEN: Final = frozenset(
    {
        *("authorization", "connection", "content-length", "content-type", "cookie", "expect", "forwarded", "host"),
        *("origin", "referer", "te", "transfer-encoding", "upgrade", "user-agent", "via"),
    }
)
"""Header fields with another meaning."""


class HeaderConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[auth.provider.header]`: a portal's proxy in front of the hub reports the signed-in user in a header.

    It is trusted only if the request comes directly from `gateway.trusted_proxies` and has the secret.
    """

    header: str = "X-Remote-User"
    """The header with the username."""
    secret: str = ""
    secret_file: str = ""
    """The secret that the proxy must send, so that other programs at its address are not trusted."""
    secret_header: str = "X-Towpath-Portal"  # noqa: S105 - its name
    """The header with the secret."""
    groups_header: str = ""
    """The header with the user's groups. Empty: the portal sends none."""
    groups_separator: Annotated[str, Meta(min_length=1, max_length=1)] = ","
    sign_out_url: str = ""
    """Where browsers go after they sign out of the hub, to sign out of the portal."""


def check(options: HeaderConfig, path: str, say: Say) -> None:
    """Report all errors in the table of a portal's header."""
    _fields(options, path, say)
    if options.secret and options.secret_file:
        say(f"{path}.secret_file", "secret is set too. Keep one of the two.")
    if not options.secret and not options.secret_file:
        say(f"{path}.secret_file", "set the file with the secret that the portal's proxy sends.")
    if options.secret and (fault := portal_secret(options.secret)):
        say(f"{path}.secret", fault)
    if options.sign_out_url and not is_web_url(options.sign_out_url):
        say(f"{path}.sign_out_url", f"{options.sign_out_url!r} is not a URL such as https://portal.example.edu/logout.")


def check_config(config: Config, provider: ProviderConfig, path: str, say: Say) -> None:
    """Report what the portal's proxy needs of [gateway]."""
    del provider, path
    door = config.gateway
    if not door.trusted_proxies:
        say("gateway.trusted_proxies", "this key is missing. Headers are trusted from these addresses only.")
    for proxy in door.trusted_proxies:
        if proxy.endswith("/0"):
            say("gateway.trusted_proxies", f"{proxy!r} contains all addresses. Set the addresses of the proxies.")


def portal_secret(secret: str) -> str:
    """Return what is wrong with a portal's secret; `""` if nothing is."""
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        return "it must have letters, digits and punctuation only, without spaces."
    if guessable(secret, SECRET_MIN):
        return f"it can be guessed. Use at least {SECRET_MIN} random characters, such as from `openssl rand -hex 32`."
    return ""


def _fields(options: HeaderConfig, path: str, say: Say) -> None:
    """Check that the names are valid header fields without another meaning."""
    seen: set[str] = set()
    for key in ("header", "secret_header", "groups_header"):
        name = getattr(options, key).lower()
        if key == "groups_header" and not name:
            continue
        if not FIELD.fullmatch(name) or name in TAKEN or name.startswith(("x-forwarded", "sec-")):
            say(f"{path}.{key}", f"{name!r} is not allowed. Use letters, digits and dashes, and no standard header.")
        if name in seen:
            say(f"{path}.{key}", f"{name!r} is used twice.")
        seen.add(name)


def names_of(options: HeaderConfig) -> frozenset[str]:
    """Return the names of the portal's headers, in lowercase. They are removed before a request reaches an app."""
    return frozenset(name.lower() for name in (options.header, options.secret_header, options.groups_header) if name)


def groups_fault(options: HeaderConfig) -> tuple[str, str] | None:
    """Return the key that disables groups; None: they are known."""
    return None if options.groups_header else ("groups_header", GROUPS_OFF)


def secret_fault(key: str, secret: str, options: HeaderConfig) -> str:
    """Return what is wrong with a secret from a file; `""`: nothing."""
    del options
    return portal_secret(secret) if key == "secret" else ""


KIND: Final = AuthenticatorKind(
    name="header",
    proof="gateway.auth.header:open_header",
    options=HeaderConfig,
    check=check,
    check_config=check_config,
    needs_table=True,
    title="the campus portal",
    form="link",
    hidden_headers=names_of,
    groups_fault=groups_fault,
    secret_fault=secret_fault,
)
