"""Where the settings come from: the one place that reads the environment and the configuration file.

Owns: which file, which overrides, which data directory, secrets in files, and that every fault is found before
one is reported. Refuses to know what the values are for. The checks themselves are in `state.settings.checks`.
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
"""Of a folder's mode: what its group may change, and all that others may do."""
OWN_VARIABLES: Final = frozenset({"TOWPATH_DATA_DIR"})
SUPERVISOR: Final = "TOWPATH_SUPERVISOR"
"""The process id of the supervisor, for its children."""
TABLES: Final = ("gateway", "state", "auth", "audit")
"""The tables whose scalar keys the environment may override."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that a process is told. `redis_url` empty: the embedded Valkey of the data directory.

    `config_path` None: no file, the one-machine defaults. `environment` is this process's own, for its children.
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
    """Read everything, check everything, make the data directory (0700).

    `config`, `data_dir`: what the command line says. Raises ConfigError with all faults.
    """
    given = dict(os.environ if environment is None else environment)
    path = find_config(config)
    source = str(path) if path is not None else "the built-in configuration"
    faults: list[Fault] = []
    raw = {} if path is None else _read(path, faults)
    origins = _override(raw, given)
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
        data_dir=_data_dir(data_dir, given),
        redis_url=url,
        environment=given,
        service_digests=digests,
    )


def find_config(argument: str | Path | None) -> Path | None:
    """The file: the argument, else ./towpath.toml, else /etc/towpath/towpath.toml, else None."""
    if argument is not None:
        return Path(argument).absolute()
    places = (Path.cwd() / "towpath.toml", Path("/etc/towpath/towpath.toml"))
    return next((place for place in places if place.is_file()), None)


def _read(path: Path, faults: list[Fault]) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError:
        faults.append(Fault(str(path), "", "there is no such file. `towpath init` writes one."))
    except OSError as error:
        faults.append(Fault(str(path), "", f"cannot be read: {error.strerror or error}."))
    except UnicodeDecodeError as error:
        faults.append(Fault(str(path), "", f"is not UTF-8 text (byte {error.start})."))
    except tomllib.TOMLDecodeError as error:
        faults.append(Fault(str(path), "", f"is not valid TOML: {error}."))  # has line and column
    return {}


def _override(raw: dict[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    """Put TOWPATH_<TABLE>_<KEY> over what the file says; which key came from which variable."""
    origins: dict[str, str] = {}
    for variable in sorted(given):
        if not variable.startswith(PREFIX) or variable in OWN_VARIABLES:
            continue
        table, _, key = variable.removeprefix(PREFIX).lower().partition("_")
        if table not in TABLES or not key:
            continue  # not ours to judge: jobs and tests have variables of their own
        section = raw.setdefault(table, {})
        if not isinstance(section, dict):
            continue  # the file's own fault, found later
        section[key] = given[variable]
        origins[f"{table}.{key}"] = variable
        if key == "redis_url" and given[variable]:
            section.pop("redis_url_file", None)  # the nearer word holds
    return origins


def _redis_url(config: Config, path: Path | None, source: str, faults: list[Fault]) -> str:
    """The URL, from the file that holds it where one is named."""
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
    if not url.startswith(REDIS_SCHEMES):  # the URL itself is a secret, and is not told
        words = f"{holder} must hold a URL that begins with one of: {', '.join(REDIS_SCHEMES)}."
        faults.append(Fault(source, "state.redis_url_file", words))
    return url


def _service_digests(config: Config, path: Path | None, source: str, faults: list[Fault]) -> dict[str, str]:
    """The digests of the services' tokens, from the files that hold them."""
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
            faults.append(Fault(source, key, f"{holder} is open to everybody on this machine: chmod o= it."))
        if not is_secret(secret):
            words = f"{holder} must hold {SECRET_LEAST} or more characters, such as `openssl rand -hex 32` prints."
            faults.append(Fault(source, key, words))
        found[service.name] = hashlib.sha256(secret.encode()).hexdigest()
    if len(set(found.values())) < len(found):
        faults.append(Fault(source, "service", "two services have the same token: each needs one of its own."))
    return found


def _data_dir(argument: str | Path | None, given: Mapping[str, str]) -> Path:
    """The data directory, made 0700 where there is none. Raises ConfigError."""
    if argument is not None:
        folder = Path(argument)
    elif given.get("TOWPATH_DATA_DIR"):
        folder = Path(given["TOWPATH_DATA_DIR"])
    elif given.get("XDG_STATE_HOME"):
        folder = Path(given["XDG_STATE_HOME"]) / "towpath"
    else:
        folder = Path.home() / ".local" / "state" / "towpath"
    folder = folder.absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError([Fault(str(folder), "", f"the data directory cannot be made: {error.strerror}.")]) from error
    _close(folder)
    return folder


def _close(folder: Path) -> None:
    """Let nobody else into a data directory that was there already. Raises ConfigError when it is another account's.

    Root may use another account's: a controller that submits as root shares it with gateways that are not.
    """
    try:
        there = folder.stat()
        if there.st_uid == os.geteuid():
            if there.st_mode & OTHERS:
                folder.chmod(stat.S_IMODE(there.st_mode) & ~OTHERS)
            return
    except OSError as error:
        words = f"the data directory cannot be looked at: {error.strerror}."
        raise ConfigError([Fault(str(folder), "", words)]) from error
    if os.geteuid() != 0:
        raise ConfigError([Fault(str(folder), "", "the data directory belongs to another account.")])
    if there.st_mode & OTHERS:
        words = "the data directory is open to others than its owner: chmod 700 it."
        raise ConfigError([Fault(str(folder), "", words)])
