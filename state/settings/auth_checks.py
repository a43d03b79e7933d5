"""Checks `[auth]`: who may sign in, and with which providers.

Owns the checks of these tables, and the rule that a sign-in without passwords must not be reachable from elsewhere.
Does not know files, the environment or other tables. Default deny: a hub that nobody can sign in to, a list without
effect, and a well-known secret are errors.
"""

from collections.abc import Callable, Iterable
from itertools import combinations
from typing import Final
from urllib.parse import urlsplit

from state.config.tables import AuthConfig, Config, GatewayConfig, OidcConfig, ProviderConfig
from state.config.urls import is_loopback, is_private, is_web_url
from state.errors import NameRuleError
from state.names import is_system, user_name
from state.plugins import authenticators
from state.plugins.entry_points import PluginError
from state.plugins.options import has_required
from state.settings import directory_checks

TABLES: Final = ("oidc", "ldap", "pam", "header")
"""Kinds with a table of their own, `[auth.provider.KIND]`."""
NEEDED: Final = ("oidc", "ldap", "header")
"""Kinds that need their table."""
PRESETS: Final[dict[str, tuple[str, ...]]] = {
    "oidc": (),
    "github": (),
    "gitlab": (),
    "google": (),
    "cilogon": ("idp",),
    "globus": (),
    "orcid": (),
}
"""The presets of kind `oidc`, and the claims that `required_claims` must restrict for each (`gateway.auth.oidc`)."""
OWN_URL: Final = ("github", "gitlab")
GROUPS_KNOWN: Final = ("github", "gitlab")
"""The presets that report groups without a groups claim."""
RESERVED: Final = frozenset(
    {
        *("client_id", "client_secret", "code_challenge", "code_challenge_method", "nonce", "redirect_uri", "request"),
        *("request_uri", "response_mode", "response_type", "scope", "state"),
    }
)
SECRET_MIN: Final = 12
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
    plain = [one.name for one in auth.provider if one.oidc is not None and one.oidc.plain_callback]
    if len(plain) > 1:
        say("auth.provider", f"only one provider can have plain_callback, but {' and '.join(plain)} have it.")


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
    kind = provider.kind
    if kind not in authenticators.BUILT_IN and not _plug_in(provider, path, say):
        return
    for table in TABLES:
        has_table = getattr(provider, table) is not None
        if has_table and table != kind:
            say(f"{path}.{table}", f"a provider of kind {kind} has no such table. Remove it.")
        if not has_table and table == kind and kind in NEEDED:
            say(f"{path}.{table}", f"a provider of kind {kind} needs a table [auth.provider.{table}]. Add it.")
    _names(provider, path, say)
    if kind == "test":
        _test(config, auth, f"{path}.kind", say)
        return
    _admission(provider, auth, path, say)
    door = config.gateway
    if not is_private(door.public_url or f"http://{door.host}"):
        say(
            "gateway.public_url",
            f"over plain http, others on the network could steal sign-ins with {provider.name}. Set the https URL"
            " that browsers use.",
        )
    if kind == "oidc" and provider.oidc is not None:
        _oidc(provider.oidc, f"{path}.oidc", say)
    if kind == "ldap" and provider.ldap is not None:
        directory_checks.ldap(provider.ldap, f"{path}.ldap", say)
    if kind == "header" and provider.header is not None:
        directory_checks.header(provider.header, door, f"{path}.header", say)


def _plug_in(provider: ProviderConfig, path: str, say: Say) -> bool:
    """Check a provider of another package's kind; False if there is none, or it is broken, which is reported."""
    try:
        kind = authenticators.find_kind(provider.kind)
    except PluginError as error:
        say(f"{path}.kind", str(error))
        return False
    if kind is None:
        known = sorted({*authenticators.BUILT_IN, *authenticators.kind_names()})
        say(f"{path}.kind", f"{provider.kind!r} is not a kind of provider. Use one of: {', '.join(known)}.")
        return False
    if provider.options is not None or not has_required(kind.options):  # else the fault has been reported
        kind.check(authenticators.options_of(provider), f"{path}.{provider.kind}", say)
    return True


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


def _admission(provider: ProviderConfig, auth: AuthConfig, path: str, say: Say) -> None:
    """Check that someone can sign in, and that each list has an effect."""
    own = (provider.allowed_users, provider.allowed_groups, provider.admins, provider.admin_groups)
    claims = () if provider.oidc is None else (provider.oidc.allowed_claims, provider.oidc.admin_claims)
    common = (auth.allowed_users, auth.allowed_groups, auth.admins)
    if not any((*own, *claims, *common, provider.allow_all)):
        say(
            path,
            f"nobody can sign in with {provider.name}. Set allowed_users, allowed_groups or admins, or"
            " allow_all = true to accept every account of the provider.",
        )
    oidc = provider.oidc
    if (
        (provider.allowed_groups or provider.admin_groups)
        and oidc is not None
        and not oidc.groups_claim
        and oidc.preset not in GROUPS_KNOWN
    ):
        say(f"{path}.oidc.groups_claim", "groups are used, but no claim is set that lists them. Set this key.")
    if (provider.allowed_groups or provider.admin_groups) and (key := directory_checks.groupless(provider)):
        say(f"{path}.{key}", "groups are used, but this setting disables them. Change one of the two.")
    if provider.allow_all and (provider.allowed_users or provider.allowed_groups):
        say(f"{path}.allow_all", "with this, allowed_users and allowed_groups have no effect. Keep one of them.")


def _test(config: Config, auth: AuthConfig, key: str, say: Say) -> None:
    for fault in exposed(config):
        say(key, fault)
    if not auth.admins and not auth.allowed_users:
        say(key, "the test sign-in offers the names in admins and allowed_users, and both are empty. Add a name.")


def exposed(config: Config) -> list[str]:
    """Return messages on why a sign-in without passwords would be reachable from other machines; empty if it is not."""
    door: GatewayConfig = config.gateway
    refused = "the test sign-in has no passwords and works on this machine only. "
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


def _oidc(oidc: OidcConfig, path: str, say: Say) -> None:
    if oidc.preset not in PRESETS:
        say(f"{path}.preset", f"{oidc.preset!r} is not a preset. Use one of: {', '.join(PRESETS)}.")
        return
    _addresses(oidc, path, say)
    _secret(oidc, path, say)
    if oidc.scopes and oidc.preset != "github" and "openid" not in oidc.scopes:
        say(f"{path}.scopes", "openid is missing. Add it: without it, the provider does not identify the user.")
    for key in sorted(RESERVED & oidc.parameters.keys()):
        say(f"{path}.parameters", f"the hub sets {key} itself. Remove it.")
    _claims(oidc, path, say)


def _addresses(oidc: OidcConfig, path: str, say: Say) -> None:
    if oidc.preset == "oidc" and not oidc.issuer:
        say(f"{path}.issuer", "this key is missing. Set the URL of the provider.")
    if oidc.issuer and not is_private(oidc.issuer):
        say(f"{path}.issuer", f"{oidc.issuer!r} is not an https URL (or an http URL of this machine).")
    if oidc.url and (oidc.preset not in OWN_URL or not is_private(oidc.url)):
        say(f"{path}.url", f"this must be an https URL, and is for {' and '.join(OWN_URL)} only.")
    if oidc.proxy and not is_web_url(oidc.proxy):
        say(f"{path}.proxy", f"{oidc.proxy!r} is not a URL such as http://proxy.example.edu:3128.")


def _secret(oidc: OidcConfig, path: str, say: Say) -> None:
    if not oidc.client_id:
        say(f"{path}.client_id", "this key is missing. Set the client id that the provider issued to this hub.")
    if oidc.client_secret and oidc.client_secret_file:
        say(f"{path}.client_secret_file", "client_secret is set too. Keep one of the two.")
    elif not oidc.client_secret_file:
        for fault in secret_faults(oidc.client_secret, oidc.client_id):
            say(f"{path}.client_secret", fault)
    if oidc.client_auth not in ("", "basic", "post"):
        say(f"{path}.client_auth", f"{oidc.client_auth!r} is not a method of client authentication. Use basic or post.")


def _claims(oidc: OidcConfig, path: str, say: Say) -> None:
    for key in ("required_claims", "allowed_claims", "admin_claims"):
        for claim, values in getattr(oidc, key).items():
            if not values or not all(values):
                say(f"{path}.{key}", f"{claim} has no values, so nobody could sign in by it. Add a value.")
    for claim in PRESETS[oidc.preset]:
        if claim not in oidc.required_claims:
            say(
                f"{path}.required_claims",
                f"{oidc.preset} serves many institutions, and each of them could assert any name. Set"
                f" {claim} to the institutions that you trust.",
            )


def secret_faults(secret: str, client_id: str) -> list[str]:
    """Return messages on why a client secret cannot be used."""
    if not secret:
        return ["the client secret is missing. Set it, or set client_secret_file."]
    if secret.lower() in directory_checks.DEFAULT_SECRETS or secret == client_id:
        return ["this is a placeholder. Set the secret that the provider issued to this hub."]
    if len(secret) < SECRET_MIN or len(set(secret)) < SECRET_MIN // 3:
        return ["this can be guessed. Set the secret that the provider issued to this hub."]
    return []
