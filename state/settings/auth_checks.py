"""Checks `[auth]`: who may sign in, and with which providers.

Owns the checks that hold for every kind of provider, and the rule that a sign-in without passwords must not be
reachable from elsewhere. Each kind checks its own table. Does not know files and the environment. Default deny: a hub
that nobody can sign in to, and a list without effect, are errors.
"""

from collections.abc import Callable, Iterable
from itertools import combinations
from typing import Final
from urllib.parse import urlsplit

from state.config.tables import AuthConfig, Config, GatewayConfig, ProviderConfig
from state.config.urls import is_loopback, is_private
from state.errors import NameRuleError
from state.names import is_system, user_name
from state.plugins import authenticators
from state.plugins.authenticators import AuthenticatorKind
from state.plugins.entry_points import PluginError
from state.plugins.options import has_required

LOGOS: Final = (".svg", ".png")

Say = Callable[[str, str], None]


def check(config: Config, say: Say) -> None:
    """Report all errors in [auth]."""
    auth = config.auth
    if auth is None:
        return
    names = [provider.name for provider in auth.provider]
    for name in sorted({name for name in names if names.count(name) > 1}):
        say("auth.provider", f"the name {name!r} is used twice.")
    _users(auth.admins, "auth.admins", say)
    _users(auth.allowed_users, "auth.allowed_users", say)
    _groups(auth.allowed_groups, "auth.allowed_groups", say)
    for number, provider in enumerate(auth.provider, 1):
        _provider(provider, config, auth, f"auth.provider[{number}]", say)
    for fault in collisions(auth.provider):
        say("auth.provider", fault)


def collisions(providers: Iterable[ProviderConfig]) -> list[str]:
    """Return a message for each pair of providers that could prove the same name for different users."""
    return [
        f"{one.name} and {other.name} could each prove the same name for different users. Give one of them a prefix, or"
        " set shared_names = true on both if a name belongs to the same user in both."
        for one, other in combinations(providers, 2)
        if one.prefix == other.prefix and not (one.shared_names and other.shared_names)
    ]


def _users(users: Iterable[str], key: str, say: Say) -> None:
    for user in users:
        try:
            normal = user_name(user)
        except NameRuleError as error:
            say(key, f"{user!r} cannot be a user: {error}")
            continue
        if normal != user:
            say(key, f"write {normal!r} instead of {user!r}, which is the normal form of the name.")
        if is_system(normal):
            say(key, f"{normal!r} is a system account and cannot be a user.")


def _groups(groups: Iterable[str], key: str, say: Say) -> None:
    for group in groups:
        if not group or group != group.strip() or not group.isprintable():
            say(key, f"{group!r} is not a valid group name.")


def _provider(provider: ProviderConfig, config: Config, auth: AuthConfig, path: str, say: Say) -> None:
    kind = _kind(provider, path, say)
    if kind is None:
        return
    _names(provider, path, say)
    if kind.passwordless:
        for fault in exposed(config):
            say(f"{path}.kind", fault)
    else:
        _admission(provider, kind, auth, path, say)
        door = config.gateway
        if not is_private(door.public_url or f"http://{door.host}"):
            say(
                "gateway.public_url",
                f"over plain http, others on the network could steal sign-ins with {provider.name}. Set the https URL"
                " that browsers use.",
            )
    _options(provider, kind, config, path, say)


def _kind(provider: ProviderConfig, path: str, say: Say) -> AuthenticatorKind | None:
    """Return the kind of a provider; None if there is none, or it is broken, which is reported."""
    try:
        kind = authenticators.find_kind(provider.kind)
    except PluginError as error:
        say(f"{path}.kind", str(error))
        return None
    if kind is None:
        known = ", ".join(authenticators.kind_names())
        say(f"{path}.kind", f"{provider.kind!r} is not a kind of provider. Use one of: {known}.")
    return kind


def _usable(provider: ProviderConfig, kind: AuthenticatorKind) -> bool:
    """Return whether the provider has options; otherwise the fault has been reported."""
    return provider.options is not None or not has_required(kind.options)


def _options(provider: ProviderConfig, kind: AuthenticatorKind, config: Config, path: str, say: Say) -> None:
    """Let the kind check its own table."""
    table = f"{path}.{provider.kind}"
    if kind.needs_table and provider.options is None:
        say(table, f"a provider of kind {provider.kind} needs a table [auth.provider.{provider.kind}]. Add it.")
    elif _usable(provider, kind):
        kind.check(authenticators.options_of(provider), table, say)
        kind.check_config(config, provider, path, say)


def _names(provider: ProviderConfig, path: str, say: Say) -> None:
    for key in ("admins", "allowed_users"):
        _users(getattr(provider, key), f"{path}.{key}", say)
    for key in ("admin_groups", "allowed_groups"):
        _groups(getattr(provider, key), f"{path}.{key}", say)
    if provider.prefix:
        try:
            usable = user_name(f"{provider.prefix}x") == f"{provider.prefix}x"
        except NameRuleError:
            usable = False
        if not usable:
            say(
                f"{path}.prefix",
                f"{provider.prefix!r} cannot begin a username. Use lowercase letters, digits and _ . -",
            )
    domain = provider.strip_domain
    if domain and ("@" in domain or not domain.strip(".") or domain != domain.strip()):
        say(f"{path}.strip_domain", f"{domain!r} is not a domain such as example.edu.")
    _users(provider.names.values(), f"{path}.names", say)
    if provider.logo and not provider.logo.lower().endswith(LOGOS):
        say(f"{path}.logo", f"{provider.logo!r} must be a file of type {' or '.join(LOGOS)}.")


def _admission(provider: ProviderConfig, kind: AuthenticatorKind, auth: AuthConfig, path: str, say: Say) -> None:
    """Check that someone can sign in, and that each list has an effect."""
    options = authenticators.options_of(provider) if _usable(provider, kind) else None
    own = (provider.allowed_users, provider.allowed_groups, provider.admins, provider.admin_groups)
    common = (auth.allowed_users, auth.allowed_groups, auth.admins)
    if not any((*own, *common, provider.allow_all)) and not (options is not None and kind.admits(options)):
        say(
            path,
            f"nobody can sign in with {provider.name}. Set allowed_users, allowed_groups or admins, or"
            " allow_all = true to accept every account of the provider.",
        )
    fault = None if options is None else kind.groups_fault(options)
    if (provider.allowed_groups or provider.admin_groups) and fault is not None:
        key, sentence = fault
        say(f"{path}.{provider.kind}.{key}", sentence)
    if provider.allow_all and (provider.allowed_users or provider.allowed_groups):
        say(f"{path}.allow_all", "with this, allowed_users and allowed_groups have no effect. Keep one of them.")


def exposed(config: Config) -> list[str]:
    """Return messages on why a sign-in without passwords would be reachable from other machines; empty if it is not."""
    door: GatewayConfig = config.gateway
    refused = "a sign-in without passwords works on this machine only. "
    faults = []
    if not is_loopback(door.host):
        faults.append(f"{refused}gateway.host is {door.host!r}. Use 127.0.0.1.")
    if door.tls_certificate and not is_loopback(door.tls_host):
        faults.append(f"{refused}gateway.tls_host is {door.tls_host!r}. Use 127.0.0.1.")
    if door.public_url and not is_loopback(urlsplit(door.public_url).hostname or ""):
        faults.append(f"{refused}gateway.public_url is {door.public_url!r}. Remove it.")
    if door.trusted_proxies:
        faults.append(f"{refused}gateway.trusted_proxies allows requests from elsewhere. Remove it.")
    return faults
