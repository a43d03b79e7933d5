"""What can be wrong with `[auth]`: who may enter, and by which providers.

Owns: the checks on these tables, and why a sign-in without passwords must not be reachable. Refuses to know files and
the environment, and every other table. Default deny: a hub that nobody could enter, a list that says nothing, and a
secret that everybody knows are faults.
"""

from collections.abc import Callable, Iterable
from itertools import combinations
from typing import Final
from urllib.parse import urlsplit

from state.config.tables import AuthConfig, Config, GatewayConfig, OidcConfig, ProviderConfig
from state.config.urls import is_loopback, is_private, is_web_url
from state.errors import NameRuleError
from state.names import is_system, user_name
from state.settings import directory_checks

PROVIDER_KINDS: Final = ("oidc", "ldap", "pam", "header", "test")
TABLES: Final = ("oidc", "ldap", "pam", "header")
"""The kinds that have a table of their own, `[auth.provider.KIND]`."""
NEEDED: Final = ("oidc", "ldap", "header")
"""Those that say nothing without it."""
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
"""The presets that say somebody's groups of themselves."""
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
    """All faults of [auth]."""
    auth = config.auth
    if auth is None:
        return
    names = [provider.name for provider in auth.provider]
    for name in sorted({name for name in names if names.count(name) > 1}):
        say("auth.provider", f"the name {name!r} is there twice.")
    _people(auth.admins, "auth.admins", say)
    _people(auth.allowed_users, "auth.allowed_users", say)
    _groups(auth.allowed_groups, "auth.allowed_groups", say)
    for number, provider in enumerate(auth.provider, 1):
        _provider(provider, config, auth, f"auth.provider[{number}]", say)
    for fault in collisions(auth.provider):
        say("auth.provider", fault)
    plain = [one.name for one in auth.provider if one.oidc is not None and one.oidc.plain_callback]
    if len(plain) > 1:
        say("auth.provider", f"plain_callback is for one provider, and {' and '.join(plain)} have it.")


def collisions(providers: Iterable[ProviderConfig]) -> list[str]:
    """Which providers could prove one name for two people, in sentences."""
    return [
        f"{one.name} and {other.name} could each prove the same name for another person: give one of them a prefix, or"
        " say same_people = true for both if whoever has a name in one has it in the other."
        for one, other in combinations(providers, 2)
        if one.prefix == other.prefix and not (one.same_people and other.same_people)
    ]


def _people(users: Iterable[str], key: str, say: Say) -> None:
    for user in users:
        try:
            normal = user_name(user)
        except NameRuleError as error:
            say(key, f"{user!r} cannot be a user: {error}")
            continue
        if normal != user:
            say(key, f"write {normal!r} for {user!r}: that is the name's normal form.")
        if is_system(normal):
            say(key, f"{normal!r} is a system account, and no person.")


def _groups(groups: Iterable[str], key: str, say: Say) -> None:
    for group in groups:
        if not group or group != group.strip() or not group.isprintable():
            say(key, f"{group!r} cannot be the name of a group.")


def _provider(provider: ProviderConfig, config: Config, auth: AuthConfig, at: str, say: Say) -> None:
    kind = provider.kind
    if kind not in PROVIDER_KINDS:
        say(f"{at}.kind", f"{kind!r} is not a way to sign in here; there is: {', '.join(PROVIDER_KINDS)}.")
        return
    for table in TABLES:
        given = getattr(provider, table) is not None
        if given and table != kind:
            say(f"{at}.{table}", f"a provider of kind {kind} has no table [auth.provider.{table}].")
        if not given and table == kind and kind in NEEDED:
            say(f"{at}.{table}", f"a provider of kind {kind} needs its table [auth.provider.{table}].")
    _names(provider, at, say)
    if kind == "test":
        _test(config, auth, f"{at}.kind", say)
        return
    _who(provider, auth, at, say)
    door = config.gateway
    if not is_private(door.public_url or f"http://{door.host}"):
        say(
            "gateway.public_url",
            f"people sign in by {provider.name}, and over plain http others on the way could be them: set the https URL"
            " that browsers use.",
        )
    if kind == "oidc" and provider.oidc is not None:
        _oidc(provider.oidc, f"{at}.oidc", say)
    if kind == "ldap" and provider.ldap is not None:
        directory_checks.ldap(provider.ldap, f"{at}.ldap", say)
    if kind == "header" and provider.header is not None:
        directory_checks.header(provider.header, door, f"{at}.header", say)


def _names(provider: ProviderConfig, at: str, say: Say) -> None:
    for key in ("admins", "allowed_users"):
        _people(getattr(provider, key), f"{at}.{key}", say)
    for key in ("admin_groups", "allowed_groups"):
        _groups(getattr(provider, key), f"{at}.{key}", say)
    if provider.prefix:
        try:
            usable = user_name(f"{provider.prefix}x") == f"{provider.prefix}x"
        except NameRuleError:
            usable = False
        if not usable:
            say(f"{at}.prefix", f"{provider.prefix!r} cannot begin a name: small letters, digits and _ . - do.")
    domain = provider.strip_domain
    if domain and ("@" in domain or not domain.strip(".") or domain != domain.strip()):
        say(f"{at}.strip_domain", f"{domain!r} is no domain such as example.edu.")
    _people(provider.names.values(), f"{at}.names", say)
    if provider.logo and not provider.logo.lower().endswith(LOGOS):
        say(f"{at}.logo", f"{provider.logo!r} is none of: {', '.join(LOGOS)}.")


def _who(provider: ProviderConfig, auth: AuthConfig, at: str, say: Say) -> None:
    """That somebody may enter, and that no list is there for nothing."""
    own = (provider.allowed_users, provider.allowed_groups, provider.admins, provider.admin_groups)
    claims = () if provider.oidc is None else (provider.oidc.allowed_claims, provider.oidc.admin_claims)
    common = (auth.allowed_users, auth.allowed_groups, auth.admins)
    if not any((*own, *claims, *common, provider.allow_all)):
        say(
            at,
            f"nobody may enter by {provider.name}: name them in allowed_users, allowed_groups or admins, or say"
            " allow_all = true for everybody whom it vouches for.",
        )
    oidc = provider.oidc
    if (
        (provider.allowed_groups or provider.admin_groups)
        and oidc is not None
        and not oidc.groups_claim
        and oidc.preset not in GROUPS_KNOWN
    ):
        say(f"{at}.oidc.groups_claim", "groups are asked for, and no claim is named that lists them.")
    if (provider.allowed_groups or provider.admin_groups) and (key := directory_checks.groupless(provider)):
        say(f"{at}.{key}", "groups are asked for, and this says that none are looked for.")
    if provider.allow_all and (provider.allowed_users or provider.allowed_groups):
        say(f"{at}.allow_all", "it lets everybody in, so allowed_users and allowed_groups say nothing: keep one.")


def _test(config: Config, auth: AuthConfig, key: str, say: Say) -> None:
    for fault in exposed(config):
        say(key, fault)
    if not auth.admins and not auth.allowed_users:
        say(key, "the test sign-in shows the names under admins and allowed_users, and there are none.")


def exposed(config: Config) -> list[str]:
    """Why a sign-in without passwords would be open to others than this machine, in sentences; empty: it is not."""
    door: GatewayConfig = config.gateway
    refused = "the test sign-in has no passwords, and is for this machine alone: "
    faults = []
    if not is_loopback(door.host):
        faults.append(f"{refused}gateway.host is {door.host!r}; use 127.0.0.1.")
    if door.tls_certificate and not is_loopback(door.tls_host):
        faults.append(f"{refused}gateway.tls_host is {door.tls_host!r}; use 127.0.0.1.")
    if door.public_url and not is_loopback(urlsplit(door.public_url).hostname or ""):
        faults.append(f"{refused}gateway.public_url is {door.public_url!r}; leave it away.")
    if door.trusted_proxies:
        faults.append(f"{refused}gateway.trusted_proxies names proxies, which bring strangers; leave it away.")
    return faults


def _oidc(given: OidcConfig, at: str, say: Say) -> None:
    if given.preset not in PRESETS:
        say(f"{at}.preset", f"{given.preset!r} is no preset; there is: {', '.join(PRESETS)}.")
        return
    _addresses(given, at, say)
    _secret(given, at, say)
    if given.scopes and given.preset != "github" and "openid" not in given.scopes:
        say(f"{at}.scopes", "openid is missing among them: without it the provider says nothing of who somebody is.")
    for key in sorted(RESERVED & given.parameters.keys()):
        say(f"{at}.parameters", f"{key} is the hub's own business.")
    _claims(given, at, say)


def _addresses(given: OidcConfig, at: str, say: Say) -> None:
    if given.preset == "oidc" and not given.issuer:
        say(f"{at}.issuer", "the URL of the provider is missing.")
    if given.issuer and not is_private(given.issuer):
        say(f"{at}.issuer", f"{given.issuer!r} is no https URL (plain http is for this machine's own addresses only).")
    if given.url and (given.preset not in OWN_URL or not is_private(given.url)):
        say(f"{at}.url", f"this is an https URL, and for {' and '.join(OWN_URL)} only.")
    if given.proxy and not is_web_url(given.proxy):
        say(f"{at}.proxy", f"{given.proxy!r} is no URL such as http://proxy.example.edu:3128.")


def _secret(given: OidcConfig, at: str, say: Say) -> None:
    if not given.client_id:
        say(f"{at}.client_id", "the name under which the provider knows this hub is missing.")
    if given.client_secret and given.client_secret_file:
        say(f"{at}.client_secret_file", "client_secret is given too: keep one of the two.")
    elif not given.client_secret_file:
        for fault in secret_faults(given.client_secret, given.client_id):
            say(f"{at}.client_secret", fault)
    if given.client_auth not in ("", "basic", "post"):
        say(f"{at}.client_auth", f"{given.client_auth!r} is not a way to prove who the hub is: basic or post.")


def _claims(given: OidcConfig, at: str, say: Say) -> None:
    for key in ("required_claims", "allowed_claims", "admin_claims"):
        for claim, values in getattr(given, key).items():
            if not values or not all(values):
                say(f"{at}.{key}", f"{claim} has no value: nobody would have it.")
    for claim in PRESETS[given.preset]:
        if claim not in given.required_claims:
            say(
                f"{at}.required_claims",
                f"{given.preset} speaks for many institutions, and each of them could vouch for any name: say by"
                f" {claim} which are meant.",
            )


def secret_faults(secret: str, client_id: str) -> list[str]:
    """Why a client secret is none, in sentences."""
    if not secret:
        return ["the secret that the provider gave this hub is missing (or name its file: client_secret_file)."]
    if secret.lower() in directory_checks.DEFAULT_SECRETS or secret == client_id:
        return ["that is a placeholder: write the secret that the provider gave this hub."]
    if len(secret) < SECRET_MIN or len(set(secret)) < SECRET_MIN // 3:
        return ["that can be guessed: write the secret that the provider gave this hub."]
    return []
