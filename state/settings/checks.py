"""Checks a whole configuration and reports all errors at once.

Owns the conversion of a raw mapping to a `Config`, value by value, and the checks across tables. Does not know files or
the environment: the caller says where a value came from.
"""

import ipaddress
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from state.config.addresses import api_url
from state.config.tables import (
    ClusterConfig,
    Config,
    GatewayConfig,
    OptionConfig,
    ProfileConfig,
    ResourcesConfig,
    SetupConfig,
)
from state.config.urls import PLAIN_PATH, is_loopback, is_origin, is_private, is_web_url
from state.errors import Fault
from state.offer import choices
from state.offer.app_ports import listens_on_port
from state.offer.clusters import CLUSTER, has_choice
from state.offer.option_kinds import KINDS, fixed
from state.plugins.entry_points import PluginError
from state.plugins.launchers import LauncherKind, adapted, cluster_named, find_kind
from state.settings import auth_checks, cluster_checks, hook_checks, role_checks
from state.settings.address_checks import one_base_path
from state.settings.shapes import Say, read_struct, unknown

DOMAIN: Final = re.compile(r"(?=.{1,180}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
APPS: Final = ("jupyter", "jupyterhub", "web")
OPTION_KINDS: Final = ("text", "integer", "boolean", "choice", *KINDS)
REDIS_SCHEMES: Final = (
    *("redis://", "rediss://", "unix://", "redis+cluster://", "rediss+cluster://"),
    *("redis+sentinel://", "rediss+sentinel://"),
)
PLACEHOLDERS: Final = ("socket", "port", "base_path", "base_path_no_slash", "user")
OPTION_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,29}")
LONG_OPTION: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")
VARIABLE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def checked(raw: Mapping[str, Any], source: str, origins: Mapping[str, str], faults: list[Fault]) -> Config | None:
    """Return the configuration, or None if a value is unusable. Errors are appended to `faults`.

    `source`: the file's name. `origins`: key → variable, for values from the environment (as text).
    """
    before = len(faults)

    def say(key: str, message: str) -> None:
        variable = origins.get(key)
        faults.append(Fault(f"environment variable {variable}" if variable else source, key, message))

    config: Config = one_base_path(read_struct(Config, raw, "", frozenset(origins), say), raw, say)
    checks = (_gateway, _state, auth_checks.check, _audit, role_checks.check, cluster_checks.check, hook_checks.check)
    for check in (*checks, _profiles):
        check(config, say)
    return config if len(faults) == before else None


# --- across tables ----------------------------------------------------------------------------------------------
def _gateway(config: Config, say: Say) -> None:
    gateway = config.gateway
    base = gateway.base_path
    if not re.fullmatch(r"/([A-Za-z0-9._~@-]+/)*", base) or "/./" in base or "/../" in base:
        say("gateway.base_path", f"{base!r} must be a plain path that begins and ends with /, such as /hub1/.")
    for key, url in (("public_url", gateway.public_url), ("internal_url", gateway.internal_url)):
        if url and (not is_web_url(url) or any(mark in url for mark in "?#@")):
            say(f"gateway.{key}", f"{url!r} is not a URL such as https://hub.example.org.")
    if gateway.user_domain and not gateway.public_url:
        say("gateway.user_domain", "set public_url too. It is the hub's own host, next to the hosts of users' servers.")
    if gateway.user_domain and gateway.share_on_one_host:
        say("gateway.share_on_one_host", "with user_domain each user has a host name. Remove this key.")
    if gateway.user_domain and not DOMAIN.fullmatch(gateway.user_domain):
        say(
            "gateway.user_domain",
            f"{gateway.user_domain!r} is not a domain such as hub.example.org, in lowercase letters.",
        )
    for entry in gateway.trusted_proxies:
        try:
            ipaddress.ip_network(entry, strict=False)
        except ValueError:
            say("gateway.trusted_proxies", f"{entry!r} is not an address or a network such as 10.0.0.0/8.")
    _tls(config, say)
    _connections(gateway, say)
    if config.auth is None and not is_loopback(gateway.host):
        say(
            "gateway.host",
            f"{gateway.host!r} can be reached from other machines, and without [auth] the hub has no sign-in."
            " Use 127.0.0.1, or add [auth].",
        )


def _tls(config: Config, say: Say) -> None:
    """The hub's own TLS."""
    gateway = config.gateway
    if not gateway.tls_certificate:
        for key in ("tls_key", "tls_host", "redirect_port"):
            if getattr(gateway, key):
                say(f"gateway.{key}", "set tls_certificate too, or remove this.")
        return
    for key in ("tls_certificate", "tls_key"):
        path = getattr(gateway, key)
        if path and not PLAIN_PATH.fullmatch(path):
            say(f"gateway.{key}", f"{path!r} is not an absolute path: it must begin with /.")
    if not gateway.public_url.startswith("https://"):
        say("gateway.public_url", "with tls_certificate, set this to the https address that browsers use.")
    if not gateway.tls_port:
        say("gateway.tls_port", "set a port, such as 443.")
    if len({gateway.port, gateway.tls_port, gateway.redirect_port}) < 3:  # noqa: PLR2004 - the three of them
        say("gateway.tls_port", "port, tls_port and redirect_port must differ.")
    if config.auth is None and not is_loopback(gateway.tls_host):
        say(
            "gateway.tls_host",
            "without [auth], the hub has no sign-in. Set this to 127.0.0.1, or add [auth].",
        )


def _connections(gateway: GatewayConfig, say: Say) -> None:
    for of, each, most in (
        ("connections", gateway.connections_per_client, gateway.connections_per_app),
        ("websockets", gateway.websockets_per_client, gateway.websockets_per_app),
    ):
        if each > most:
            say(f"gateway.{of}_per_client", f"{each} is greater than {of}_per_app ({most}). Lower it.")


def _state(config: Config, say: Say) -> None:
    state = config.state
    if state.redis_url and state.redis_url_file:
        say("state.redis_url_file", "redis_url is set too. Keep one of the two.")
    if state.redis_url and not state.redis_url.startswith(REDIS_SCHEMES):
        say("state.redis_url", f"the URL must begin with one of: {', '.join(REDIS_SCHEMES)}.")


def _audit(config: Config, say: Say) -> None:
    audit = config.audit
    if audit.file and not PLAIN_PATH.fullmatch(audit.file):
        say("audit.file", f"{audit.file!r} is not an absolute path. It must begin with /.")
    if audit.syslog and not is_syslog(audit.syslog):
        say("audit.syslog", f"{audit.syslog!r} must be like unix:///dev/log or udp://host:514.")


def is_syslog(url: str) -> bool:
    """Return whether this is a URL for syslog messages."""
    try:
        parts = urlsplit(url)
        if parts.query or parts.fragment or parts.username:
            return False
        if parts.scheme == "unix":
            return not parts.netloc and bool(PLAIN_PATH.fullmatch(parts.path)) and len(parts.path) > 1
        return parts.scheme == "udp" and bool(parts.hostname) and parts.path in {"", "/"} and (parts.port or 1) > 0
    except ValueError:
        return False


def _profiles(config: Config, say: Say) -> None:
    if not config.profile:
        say("profile", "there must be at least one [[profile]].")
    _no_doubles("profile", [profile.name for profile in config.profile], say)
    for number, profile in enumerate(config.profile, 1):
        at = f"profile[{number}]"
        faulty: list[str] = []
        _profile(profile, config.cluster, at, _noting(say, faulty))
        kinds = _kinds(config, profile)
        for cluster, kind in kinds.items():
            _requests(profile, cluster, kind, at, say)
        for kind in {kind.name: kind for kind in kinds.values()}.values():
            if not faulty:  # the kind checks values of the right shape only
                kind.check_profile(profile, at, say)
        leaks = any(not kind.runs_here and not _keeps_tokens(config, kind) for kind in kinds.values())
        if profile.app == "jupyterhub" and leaks:
            message = "its servers send their token to the hub. Set an https public_url or internal_url in [gateway]."
            say(f"{at}.app", message)


def _keeps_tokens(config: Config, kind: LauncherKind) -> bool:
    """Return whether nobody else can read what apps send to the API. Other users can listen on a shared loopback."""
    url = api_url(config, elsewhere=True)
    return is_private(url) and (not kind.one_machine or url.startswith("https://"))


def _kinds(config: Config, profile: ProfileConfig) -> dict[str, LauncherKind]:
    """Return the kinds of the profile's clusters by name, without those that have a fault."""
    clusters = [cluster for name in profile.clusters if (cluster := cluster_named(config, name)) is not None]
    return {cluster.name: kind for cluster in clusters if (kind := _known_kind(cluster)) is not None}


def _known_kind(cluster: ClusterConfig) -> LauncherKind | None:
    """Return the kind of a cluster; None if it has a fault, which is reported with the cluster."""
    try:
        kind = find_kind(cluster.kind)
        return None if kind is None else adapted(kind, cluster)
    except PluginError:
        return None


def _requests(profile: ProfileConfig, name: str, kind: LauncherKind, at: str, say: Say) -> None:
    """Check that the profile requests only what the cluster understands."""
    options = {option.kind for option in profile.option.values() if option.kind in KINDS}
    resources = {one for one in KINDS if fixed(profile.resources, one) is not None}
    cluster = f"the cluster {name} {f'is of kind {kind.name}' if kind.option_kinds else 'has no scheduler'}"
    for table, requested in (("option", options), ("resources", resources)):
        for one in sorted(requested - kind.option_kinds):
            say(f"{at}.{table}", f"{cluster}, so its profiles cannot request {one}. Remove it.")
    if profile.resources.extra and not kind.option_kinds:
        say(f"{at}.resources.extra", f"{cluster}, so its profiles cannot set options of one. Remove them.")


def _noting(say: Say, keys: list[str]) -> Say:
    """Return `say` that also notes the keys."""

    def both(key: str, message: str) -> None:
        keys.append(key)
        say(key, message)

    return both


def _clusters_of(profile: ProfileConfig, names: Sequence[str], at: str, say: Say) -> None:
    if not profile.clusters:
        say(f"{at}.cluster", "there must be at least one cluster. Add one.")
    _no_doubles(f"{at}.cluster", profile.clusters, say)
    for name in dict.fromkeys(profile.clusters):
        if names and name not in names:
            say(f"{at}.cluster", f"no [[cluster]] is named {name!r}. Use one of: {', '.join(sorted(set(names)))}.")
    if has_choice(profile) and CLUSTER in profile.option:
        say(f"{at}.option.{CLUSTER}", "the form has a field of this name for the clusters. Rename this option.")


def _profile(profile: ProfileConfig, clusters: Iterable[ClusterConfig], at: str, say: Say) -> None:
    _clusters_of(profile, [cluster.name for cluster in clusters], at, say)
    if profile.app not in APPS:
        say(f"{at}.app", f"{profile.app!r} is not a kind of app. Use one of: {', '.join(APPS)}.")
    if profile.app == "web" and not profile.command:
        say(f"{at}.command", "an app of kind web needs a command. Set this key.")
    for name in profile.environment:
        if not VARIABLE_NAME.fullmatch(name):
            say(f"{at}.environment", f"{name!r} is not a valid name of an environment variable.")
    for origin in profile.cors_origins:
        if origin != "*" and not is_origin(origin):
            say(
                f"{at}.cors_origins",
                f'{origin!r} is not an origin. Write "https://host" or "https://host:port", or "*".',
            )
    for name, option in profile.option.items():
        _option(name, option, f"{at}.option.{name}", say)
    kinds = [option.kind for option in profile.option.values() if option.kind in KINDS]
    for kind in sorted({kind for kind in kinds if kinds.count(kind) > 1}):
        say(f"{at}.option", f"two options have the kind {kind}. Keep one of them.")
    _resources(profile.resources, f"{at}.resources", say)
    _setup(profile.setup, f"{at}.setup", say)
    _command(profile, f"{at}.command", say)


def _resources(resources: ResourcesConfig, at: str, say: Say) -> None:
    """Check fixed resources with the rules for an option of the same kind."""
    for kind in KINDS:
        raw = getattr(resources, kind)
        if raw in {"", None}:
            continue
        wrong = choices.fault_of(OptionConfig(kind=kind), raw)
        if wrong is not None:
            say(f"{at}.{kind}", f"{raw!r}: {wrong}")
    for name, value in resources.extra.items():
        if not LONG_OPTION.fullmatch(name):
            say(f"{at}.extra", f"{name!r} is not the long name of an option of a scheduler.")
        elif not value.isprintable():
            say(f"{at}.extra.{name}", "the value must be one line of printable text.")


def _setup(setup: SetupConfig, at: str, say: Say) -> None:
    """Check that each value is one line that cannot be taken for an option.

    The prologue is the admin's own shell code.
    """
    lines = [("modules", one) for one in setup.modules] + [("binds", one) for one in setup.binds]
    lines += [(key, one) for key in ("conda", "venv", "image") if (one := getattr(setup, key))]
    for key, text in lines:
        if not text or not text.isprintable() or text.startswith("-"):
            say(f"{at}.{key}", f"{text!r} must be one line of printable text that does not begin with a dash.")
    if "\0" in setup.prologue:
        say(f"{at}.prologue", "a shell script cannot contain a NUL character. Remove it.")
    if setup.conda and setup.venv:
        say(f"{at}.venv", "conda is set too. Keep one of the two.")


def _command(profile: ProfileConfig, at: str, say: Say) -> None:
    """Check that placeholders are known, and that the command uses exactly one of them to reach the app."""
    known = {*PLACEHOLDERS, *(f"option_{name}" for name in profile.option)}
    used: set[str] = set()
    for argument in profile.command:
        try:
            named = {name for _, name, _, _ in string.Formatter().parse(argument) if name is not None}
        except ValueError:
            say(at, f"{argument!r} has an unmatched brace. Write {{{{ and }}}} for literal braces.")
            continue
        used |= named
        for name in sorted(named - known):
            say(at, f"{unknown(name, known).replace('key', f'placeholder as {{{name}}}')}")
    own_address = profile.app == "jupyterhub"  # through JUPYTERHUB_SERVICE_URL
    if profile.command and not own_address and not used & {"socket", "port"}:
        say(at, "the command must contain {socket} or {port}, so that the hub knows where the app listens.")
    if {"socket", "port"} <= used:
        say(at, "the command contains both {socket} and {port}. Keep one of the two.")
    if profile.shared_node_port and not listens_on_port(profile):
        say(at.replace(".command", ".shared_node_port"), "this is for commands that contain {port}. Remove this key.")
    if profile.app == "jupyterhub" and listens_on_port(profile) and not profile.shared_node_port:
        say(
            at,
            "with {port}, the server listens in a network namespace from which it cannot reach the hub. Remove {port},"
            " or set shared_node_port = true.",
        )


def _option(name: str, option: OptionConfig, at: str, say: Say) -> None:
    if not OPTION_NAME.fullmatch(name):
        say(at, "an option's name has at most 30 lowercase letters, digits and _, and begins with a letter.")
    if option.kind not in OPTION_KINDS:
        say(f"{at}.kind", f"{option.kind!r} is not a kind of option. Use one of: {', '.join(OPTION_KINDS)}.")
        return
    if option.minimum is not None and option.maximum is not None and option.minimum > option.maximum:
        say(f"{at}.minimum", f"{option.minimum} is greater than the maximum {option.maximum}.")
        return
    if option.kind == "choice" and not option.values:
        say(f"{at}.values", "an option of kind choice needs values. Set this key.")
        return
    if option.kind in {"text", "integer", "boolean"} and option.values:
        say(f"{at}.values", f"an option of kind {option.kind} cannot have values. Remove them.")
    if option.kind in KINDS and (wrong := _value_fault(option)) is not None:
        say(f"{at}.values", wrong)
        return
    if option.pattern:
        try:
            re.compile(option.pattern)
        except re.error as error:
            say(f"{at}.pattern", f"this is not a regular expression: {error}.")
            return
    if option.default is not None and (wrong := choices.fault_of(option, option.default)) is not None:
        say(f"{at}.default", f"{option.default!r}: {wrong}")


def _value_fault(option: OptionConfig) -> str | None:
    """Return what is wrong with one of the values of an option for the scheduler, or None."""
    alone = OptionConfig(kind=option.kind)
    for value in option.values:
        if value == "" and option.kind in {"gpu", "reservation", "constraint"}:
            continue
        if (wrong := choices.fault_of(alone, value)) is not None or value == "":
            return f"{value!r}: {wrong or 'a name is needed here.'}"
    return None


def _no_doubles(at: str, names: Sequence[str], say: Say) -> None:
    for name in sorted({name for name in names if names.count(name) > 1}):
        say(at, f"the name {name!r} is used twice.")
