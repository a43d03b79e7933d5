"""Checks a whole configuration and reports all errors at once.

Owns the conversion of a raw mapping to a `Config`, value by value, and the checks across tables. Does not know files or
the environment: the caller says where a value came from.
"""

import difflib
import ipaddress
import re
import string
from collections.abc import Callable, Collection, Iterable, Mapping
from types import UnionType
from typing import Any, Final, get_args, get_origin
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

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
from state.config.urls import is_loopback, is_private, is_web_url
from state.errors import Fault
from state.offer import choices
from state.offer.app_ports import listens_on_port
from state.offer.option_kinds import KINDS, UNSCHEDULED, fixed
from state.settings import auth_checks, cluster_checks, renamed_keys, role_checks
from state.settings.address_checks import one_base_path
from state.settings.cluster_checks import PLAIN_PATH

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

Say = Callable[[str, str], None]
"""Report a fault: key, message."""


def checked(raw: Mapping[str, Any], source: str, origins: Mapping[str, str], faults: list[Fault]) -> Config | None:
    """Return the configuration, or None if a value is unusable. Errors are appended to `faults`.

    `source`: the file's name. `origins`: key → variable, for values from the environment (as text).
    """
    before = len(faults)

    def say(key: str, message: str) -> None:
        variable = origins.get(key)
        faults.append(Fault(f"environment variable {variable}" if variable else source, key, message))

    config: Config = one_base_path(_struct(Config, raw, "", frozenset(origins), say), raw, say)
    for check in (_gateway, _state, auth_checks.check, _audit, role_checks.check, cluster_checks.check, _profiles):
        check(config, say)
    return config if len(faults) == before else None


# --- shapes: value by value --------------------------------------------------------------------------------------
def _struct(kind: type[Struct], raw: Any, at: str, textual: frozenset[str], say: Say) -> Any:
    """Build a Struct of this kind from a mapping. Faulty values get their default, so that the rest is checked too.

    None if a key without a default is faulty or missing.
    """
    if not isinstance(raw, Mapping):
        say(at, "this must be a table.")
        return kind() if kind is Config else None
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    found: dict[str, Any] = {}
    whole = True
    for key, value in raw.items():
        where = f"{at}.{key}" if at else str(key)
        if key not in fields:
            say(where, _unknown(key, fields))
            continue
        try:
            found[key] = _value(fields[key].type, value, where, textual, say)
        except _FaultyError:
            whole = whole and not fields[key].required
    for key, field in fields.items():
        if field.required and key not in raw:
            say(f"{at}.{key}" if at else key, "this key is missing. Add it.")
            whole = False
    return kind(**found) if whole else None


class _FaultyError(Exception):
    """A value is wrong, and the error has been reported."""


def _value(kind: Any, raw: Any, at: str, textual: frozenset[str], say: Say) -> Any:
    inner = _inner(kind)
    if isinstance(inner, type) and issubclass(inner, Struct):
        return _whole(_struct(inner, raw, at, textual, say))
    origin, args = get_origin(inner), get_args(inner)
    if origin is tuple and isinstance(args[0], type) and issubclass(args[0], Struct):
        if not isinstance(raw, list):
            say(at, f"this must be a list of tables: [[{at}]].")
            raise _FaultyError
        items = [_struct(args[0], item, f"{at}[{number}]", textual, say) for number, item in enumerate(raw, 1)]
        return tuple(item for item in items if item is not None)
    if origin is dict and isinstance(args[1], type) and issubclass(args[1], Struct):
        if not isinstance(raw, Mapping):
            say(at, "this must be a table of tables.")
            raise _FaultyError
        tables = {key: _struct(args[1], item, f"{at}.{key}", textual, say) for key, item in raw.items()}
        return {key: item for key, item in tables.items() if item is not None}
    if at in textual and origin is tuple:
        raw = [part.strip() for part in raw.split(",") if part.strip()]
    try:
        return msgspec.convert(raw, kind, strict=at not in textual)
    except msgspec.ValidationError as error:
        say(at, f"{_plain(str(error))}.")
        raise _FaultyError from error


def _inner(kind: Any) -> Any:
    """Return the type without `| None`."""
    if isinstance(kind, UnionType) or get_origin(kind) is not None:
        rest = [one for one in get_args(kind) if one is not type(None)]
        if isinstance(kind, UnionType) and len(rest) == 1:
            return rest[0]
    return kind


def _whole(value: Any) -> Any:
    if value is None:
        raise _FaultyError
    return value


def _unknown(key: object, known: Collection[str]) -> str:
    if new := renamed_keys.new_name(key, known):
        return f"this key is now called {new}. Rename it."
    near = difflib.get_close_matches(str(key), list(known), n=1)
    return f"there is no such key. Did you mean {near[0]}?" if near else "there is no such key."


def _plain(message: str) -> str:
    """Translate a message of msgspec, which uses Python's names of types."""
    words = {
        "`int`": "a whole number",
        "`float`": "a number",
        "`str`": "text",
        "`bool`": "true or false",
        "`array`": "a list",
        "`object`": "a table",
        "`null`": "nothing",
    }
    for word, plain in words.items():
        message = message.replace(word, plain)
    message = re.sub(r" - at `[^`]*`$", "", message).replace("`", "")
    return message[:1].lower() + message[1:]


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
        _profile(profile, config.cluster, f"profile[{number}]", say)
        elsewhere = any(cluster.name == profile.cluster and cluster.kind != "local" for cluster in config.cluster)
        if profile.app == "jupyterhub" and elsewhere and not is_private(api_url(config, elsewhere=True)):
            message = "its servers send their token to the hub. Set an https public_url or internal_url in [gateway]."
            say(f"profile[{number}].app", message)


def _profile(profile: ProfileConfig, clusters: Iterable[ClusterConfig], at: str, say: Say) -> None:
    names = [cluster.name for cluster in clusters]
    if names and profile.cluster not in names:
        say(
            f"{at}.cluster",
            f"no [[cluster]] is named {profile.cluster!r}. Use one of: {', '.join(sorted(set(names)))}.",
        )
    if profile.app not in APPS:
        say(f"{at}.app", f"{profile.app!r} is not a kind of app. Use one of: {', '.join(APPS)}.")
    if profile.app == "web" and not profile.command:
        say(f"{at}.command", "an app of kind web needs a command. Set this key.")
    for name in profile.environment:
        if not VARIABLE_NAME.fullmatch(name):
            say(f"{at}.environment", f"{name!r} is not a valid name of an environment variable.")
    for name, option in profile.option.items():
        _option(name, option, f"{at}.option.{name}", say)
    kinds = [option.kind for option in profile.option.values() if option.kind in KINDS]
    for kind in sorted({kind for kind in kinds if kinds.count(kind) > 1}):
        say(f"{at}.option", f"two options have the kind {kind}. Keep one of them.")
    _resources(profile.resources, f"{at}.resources", say)
    _setup(profile.setup, f"{at}.setup", say)
    if any(cluster.name == profile.cluster and cluster.kind in UNSCHEDULED for cluster in clusters):
        asks = sorted(set(kinds)) or [kind for kind in KINDS if fixed(profile.resources, kind) is not None]
        if asks or profile.resources.sbatch:
            say(
                f"{at}.{'option' if kinds else 'resources'}",
                f"the cluster {profile.cluster} has no scheduler, so its profiles cannot request"
                f" {(asks or ['sbatch'])[0]}. Remove it.",
            )
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
    for name, value in resources.sbatch.items():
        if not LONG_OPTION.fullmatch(name):
            say(f"{at}.sbatch", f"{name!r} is not the long name of an sbatch option.")
        elif not value.isprintable():
            say(f"{at}.sbatch.{name}", "the value must be one line of printable text.")


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
    """Check that placeholders are known, and that there is exactly one way to reach the app."""
    known = {*PLACEHOLDERS, *(f"option_{name}" for name in profile.option)}
    used: set[str] = set()
    for word in profile.command:
        try:
            named = {name for _, name, _, _ in string.Formatter().parse(word) if name is not None}
        except ValueError:
            say(at, f"{word!r} has an unmatched brace. Write {{{{ and }}}} for literal braces.")
            continue
        used |= named
        for name in sorted(named - known):
            say(at, f"{_unknown(name, known).replace('key', f'placeholder as {{{name}}}')}")
    told = profile.app == "jupyterhub"  # through JUPYTERHUB_SERVICE_URL
    if profile.command and not told and not used & {"socket", "port"}:
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


def _no_doubles(at: str, names: list[str], say: Say) -> None:
    for name in sorted({name for name in names if names.count(name) > 1}):
        say(at, f"the name {name!r} is used twice.")
