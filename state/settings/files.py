"""What a configuration keeps in files of its own: secrets, tables of names, pictures and certificates.

Owns: reading them once, at the start, so that what follows has whole values; a path is taken as from the folder of the
configuration. Refuses to know what they are for. A secret's text is never in a fault.
"""

import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict, replace

from state.config.tables import AuthConfig, Config, ProviderConfig
from state.errors import NameRuleError
from state.names import as_listed, is_system, user_name
from state.settings.auth_checks import secret_faults
from state.settings.directory_checks import directory_password, portal_secret

SUFFIX: Final = "_file"
LONGEST: Final = 64 * 1024
NAMES_LONGEST: Final = 8 * 1024 * 1024
PATHS: Final = ("ca_file",)
"""Keys that stay paths: whoever uses them reads them."""

Say = Callable[[str, str], None]
"""Report a fault: key, message."""


def logo_name(provider: ProviderConfig) -> str:
    """What a provider's picture is called where the hub serves it; `""`: it has none."""
    return f"logo-{provider.name}{Path(provider.logo).suffix.lower()}" if provider.logo else ""


def logos(config: Config) -> dict[str, Path]:
    """All pictures of providers: what each is called, and its file."""
    providers = config.auth.provider if config.auth is not None else ()
    return {logo_name(provider): Path(provider.logo) for provider in providers if provider.logo}


def filled(config: Config, folder: Path | None, say: Say) -> Config:
    """The configuration with what its files hold in place. `folder`: where paths begin; None: they are whole."""
    auth = config.auth
    if auth is None:
        return config
    at = Folder(folder)
    providers = tuple(
        _provider(provider, at, f"auth.provider[{number}]", say) for number, provider in enumerate(auth.provider, 1)
    )
    changed: AuthConfig = replace(auth, provider=providers)
    return replace(config, auth=changed)


class Folder:
    """Where paths begin."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def path(self, given: str) -> Path:
        """The whole path."""
        path = Path(given).expanduser()
        return path if path.is_absolute() or self._folder is None else self._folder / path

    def text(self, given: str, key: str, say: Say, *, longest: int = LONGEST) -> str | None:
        """What a file holds; None when it cannot be read, which has been said then."""
        path = self.path(given)
        try:
            if path.stat().st_size > longest:
                say(key, f"{path} is longer than {longest} bytes.")
                return None
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            say(key, f"{path} cannot be read: {reason}.")
            return None

    def secret(self, given: str, key: str, say: Say) -> str | None:
        """A secret on one line; None as with `text`. That others can read the file is a fault."""
        path = self.path(given)
        text = self.text(given, key, say)
        if text is None:
            return None
        if path.stat().st_mode & (stat.S_IRWXO | stat.S_IWGRP):
            say(key, f"{path} is open to everybody on this machine: chmod 600 it.")
        return text.strip()


def _provider(provider: ProviderConfig, at: Folder, key: str, say: Say) -> ProviderConfig:
    changes: dict[str, Any] = {}
    if provider.logo:
        path = at.path(provider.logo)
        if not path.is_file():
            say(f"{key}.logo", f"{path} is no file.")
        changes["logo"] = str(path)
    if provider.names_file:
        changes["names"] = {**_names(provider.names_file, at, f"{key}.names_file", say), **provider.names}
    for name, value in asdict(provider).items():
        if isinstance(value, Struct):
            changes[name] = _table(value, at, f"{key}.{name}", say)
    return replace(provider, **changes)


def _table(table: Struct, at: Folder, key: str, say: Say) -> Struct:
    """The table of a kind: for each `X_file` its `X`, and its paths made whole."""
    given = asdict(table)
    changes: dict[str, Any] = {}
    for name, value in given.items():
        if not name.endswith(SUFFIX) or not isinstance(value, str) or not value:
            continue
        target = name.removesuffix(SUFFIX)
        if name in PATHS:
            path = at.path(value)
            if not path.is_file():
                say(f"{key}.{name}", f"{path} is no file.")
            changes[name] = str(path)
        elif target in given and not given[target]:
            secret = at.secret(value, f"{key}.{name}", say)
            if secret == "":
                say(f"{key}.{name}", f"{at.path(value)} holds nothing.")
            for fault in _weak(secret, target, given) if secret else ():
                say(f"{key}.{name}", fault)
            changes[target] = secret or ""
    return replace(table, **changes)


def _weak(secret: str, target: str, given: Mapping[str, Any]) -> list[str]:
    """Why a secret that was in a file is none, in sentences, by the key that it is for."""
    match target:
        case "client_secret":
            return secret_faults(secret, str(given.get("client_id", "")))
        case "secret":
            return [fault for fault in [portal_secret(secret)] if fault]
        case "bind_password":
            return [fault for fault in [directory_password(secret)] if fault]
        case _:
            return []


def _names(given: str, at: Folder, key: str, say: Say) -> dict[str, str]:
    """A table of names: the provider's and the hub's on each line; # begins a comment."""
    text = at.text(given, key, say, longest=NAMES_LONGEST)
    found: dict[str, str] = {}
    for number, line in enumerate((text or "").splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        where = f"line {number} of {at.path(given)}"
        if len(words) != 2:  # noqa: PLR2004 - two names
            say(key, f"{where} does not hold two names.")
            continue
        theirs, ours = words
        try:
            if user_name(ours) != ours or is_system(ours):
                say(key, f"{where}: {ours!r} cannot be a user's name here.")
        except NameRuleError:
            say(key, f"{where}: {ours!r} cannot be a user's name here.")
        if as_listed(theirs) in found:
            say(key, f"{where}: {theirs!r} is there twice.")
        found[as_listed(theirs)] = ours
    return found
