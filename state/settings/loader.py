"""Reads the settings: the only code that reads the environment and the configuration file.

Owns which file is read, overrides, the data directory and secrets in files, and reports all errors together. Does not
know what the values are for. The checks are in `state.settings.checks`.
"""

import hashlib
import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from state.config.service_rules import SECRET_LEAST, is_secret
from state.config.tables import Config
from state.errors import ConfigError, Fault
from state.settings.checks import REDIS_SCHEMES, checked
from state.settings.files import filled

PREFIX: Final = "TOWPATH_"
OTHERS: Final = 0o027
"""Mode bits of a folder: writable by its group, or any access for others."""
OWN_VARIABLES: Final = frozenset({"TOWPATH_DATA_DIR"})
SUPERVISOR: Final = "TOWPATH_SUPERVISOR"
"""The process id of the supervisor, for its child processes."""
TABLES: Final = ("gateway", "state", "auth", "audit")
"""The tables whose scalar keys the environment can override."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of a process. Without a `redis_url`, it uses the embedded Valkey of the data directory.

    `config_path` None: no file, the one-machine defaults. `environment` is that of this process, for child processes.
    """

    config: Config
    config_path: Path | None
    data_dir: Path
    redis_url: str
    environment: Mapping[str, str]
    service_digests: Mapping[str, str] = field(default_factory=dict)
    """Configured services by name → SHA-256 (hex) of their API token."""


def load(
    config: str | Path | None = None,
    data_dir: str | Path | None = None,
    *,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Read and check everything, and create the data directory (0700).

    `config`, `data_dir`: from the command line. Raises ConfigError with all errors.
    """
    variables = dict(os.environ if environment is None else environment)
    path = find_config(config)
    source = str(path) if path is not None else "the built-in configuration"
    faults: list[Fault] = []
    raw = {} if path is None else _read(path, faults)
    origins = _override(raw, variables)
    value = checked(raw, source, origins, faults)
    url, digests = "", {}
    if value is not None:
        url = _redis_url(value, path, source, faults)
        digests = _service_digests(value, path, source, faults)
        folder = path.parent if path is not None else None
        value = filled(value, folder, lambda key, message: faults.append(Fault(source, key, message)))
    if faults or value is None:
        raise ConfigError(faults)
    return Settings(
        config=value,
        config_path=path,
        data_dir=_data_dir(data_dir, variables),
        redis_url=url,
        environment=variables,
        service_digests=digests,
    )


def find_config(argument: str | Path | None) -> Path | None:
    """Return the argument, else ./towpath.toml, else /etc/towpath/towpath.toml, else None."""
    if argument is not None:
        return Path(argument).absolute()
    places = (Path.cwd() / "towpath.toml", Path("/etc/towpath/towpath.toml"))
    return next((place for place in places if place.is_file()), None)


def _read(path: Path, faults: list[Fault]) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError:
        faults.append(Fault(str(path), "", "there is no such file. Create one with `towpath init`."))
    except OSError as error:
        faults.append(Fault(str(path), "", f"cannot be read: {error.strerror or error}."))
    except UnicodeDecodeError as error:
        faults.append(Fault(str(path), "", f"is not UTF-8 text (byte {error.start})."))
    except tomllib.TOMLDecodeError as error:
        faults.append(Fault(str(path), "", f"is not valid TOML: {error}."))  # has line and column
    return {}


def _override(raw: dict[str, Any], environment: Mapping[str, str]) -> dict[str, str]:
    """Apply TOWPATH_<TABLE>_<KEY> to what the file says. Return key → variable."""
    origins: dict[str, str] = {}
    for variable in sorted(environment):
        if not variable.startswith(PREFIX) or variable in OWN_VARIABLES:
            continue
        table, _, key = variable.removeprefix(PREFIX).lower().partition("_")
        if table not in TABLES or not key:
            continue  # jobs and tests have variables of their own
        section = raw.setdefault(table, {})
        if not isinstance(section, dict):
            continue  # the error in the file is reported later
        section[key] = environment[variable]
        origins[f"{table}.{key}"] = variable
        if key == "redis_url" and environment[variable]:
            section.pop("redis_url_file", None)  # the environment takes precedence
    return origins


def _redis_url(config: Config, path: Path | None, source: str, faults: list[Fault]) -> str:
    """Return the URL, from its file if one is set."""
    state = config.state
    if not state.redis_url_file:
        return state.redis_url
    holder = Path(state.redis_url_file)
    if not holder.is_absolute() and path is not None:
        holder = path.parent / holder
    try:
        url = holder.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        faults.append(Fault(source, "state.redis_url_file", f"{holder} cannot be read: {reason}."))
        return ""
    if not url.startswith(REDIS_SCHEMES):  # the URL contains a password and is not shown
        message = f"{holder} must hold a URL that begins with one of: {', '.join(REDIS_SCHEMES)}."
        faults.append(Fault(source, "state.redis_url_file", message))
    return url


def _service_digests(config: Config, path: Path | None, source: str, faults: list[Fault]) -> dict[str, str]:
    """Return the digests of the services' tokens, which are in files."""
    found: dict[str, str] = {}
    for number, service in enumerate(config.service, 1):
        if not service.api_token_file:
            continue
        key = f"service[{number}].api_token_file"
        holder = Path(service.api_token_file)
        if not holder.is_absolute() and path is not None:
            holder = path.parent / holder
        try:
            secret = holder.read_text(encoding="utf-8").strip()
            open_to_all = bool(holder.stat().st_mode & 0o007)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            faults.append(Fault(source, key, f"{holder} cannot be read: {reason}."))
            continue
        if open_to_all:
            faults.append(Fault(source, key, f"{holder} can be read by all users of this machine. Run chmod o= on it."))
        if not is_secret(secret):
            message = f"{holder} must have {SECRET_LEAST} or more characters, such as from `openssl rand -hex 32`."
            faults.append(Fault(source, key, message))
        found[service.name] = hashlib.sha256(secret.encode()).hexdigest()
    if len(set(found.values())) < len(found):
        faults.append(Fault(source, "service", "two services have the same token. Give each its own."))
    return found


def _data_dir(argument: str | Path | None, environment: Mapping[str, str]) -> Path:
    """Return the data directory, created with mode 0700 if missing. Raises ConfigError."""
    if argument is not None:
        folder = Path(argument)
    elif environment.get("TOWPATH_DATA_DIR"):
        folder = Path(environment["TOWPATH_DATA_DIR"])
    elif environment.get("XDG_STATE_HOME"):
        folder = Path(environment["XDG_STATE_HOME"]) / "towpath"
    else:
        folder = _home() / ".local" / "state" / "towpath"
    folder = folder.absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        message = f"the data directory cannot be created: {error.strerror}."
        raise ConfigError([Fault(str(folder), "", message)]) from error
    _close(folder)
    return folder


def _home() -> Path:
    """Return the home of this account. Raises ConfigError if it has none, as in many containers."""
    try:
        return Path.home()
    except (RuntimeError, KeyError) as error:
        message = "this account has no home directory. Set --data-dir or TOWPATH_DATA_DIR."
        raise ConfigError([Fault("", "data directory", message)]) from error


def _close(folder: Path) -> None:
    """Restrict an existing data directory to its owner. Raises ConfigError if it belongs to another account.

    Root may use another account's: a controller that submits as root shares it with gateways that run as another
    account.
    """
    try:
        status = folder.stat()
        if status.st_uid == os.geteuid():
            if status.st_mode & OTHERS:
                folder.chmod(stat.S_IMODE(status.st_mode) & ~OTHERS)
            return
    except OSError as error:
        message = f"the data directory cannot be read: {error.strerror}."
        raise ConfigError([Fault(str(folder), "", message)]) from error
    if os.geteuid() != 0:
        message = "the data directory belongs to another account. Change its owner."
        raise ConfigError([Fault(str(folder), "", message)])
    if status.st_mode & OTHERS:
        message = "other accounts can access the data directory. Run chmod 700 on it."
        raise ConfigError([Fault(str(folder), "", message)])
