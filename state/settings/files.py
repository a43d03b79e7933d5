"""Reads the files that a configuration refers to: secrets, tables of names, logos and certificates.

Reads them once at the start, so that later code has complete values. Paths are relative to the folder of the
configuration. Does not know what the files are for. The text of a secret never occurs in a message.
"""

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict, replace

from state.config.service_rules import SECRET_LEAST, is_secret
from state.config.tables import AuthConfig, Config, ProviderConfig
from state.errors import NameRuleError
from state.names import as_listed, is_system, user_name
from state.plugins.authenticators import AuthenticatorKind, kind_of

SUFFIX: Final = "_file"
LONGEST: Final = 64 * 1024
NAMES_LONGEST: Final = 8 * 1024 * 1024
PATHS: Final = ("ca_file",)
"""Keys that stay paths, because their users read the files."""

Say = Callable[[str, str], None]
"""Report a fault: key, message."""


def logo_name(provider: ProviderConfig) -> str:
    """Return the file name under which the hub serves a provider's logo; `""` if it has none."""
    return f"logo-{provider.name}{Path(provider.logo).suffix.lower()}" if provider.logo else ""


def logos(config: Config) -> dict[str, Path]:
    """Return all logos of providers: served name → file."""
    providers = config.auth.provider if config.auth is not None else ()
    return {logo_name(provider): Path(provider.logo) for provider in providers if provider.logo}


def filled(config: Config, folder: Path | None, say: Say) -> Config:
    """Return the configuration with the contents of its files filled in. `folder`: base of relative paths, or None."""
    auth = config.auth
    if auth is None:
        return config
    at = Folder(folder)
    providers = tuple(
        _provider(provider, at, f"auth.provider[{number}]", say) for number, provider in enumerate(auth.provider, 1)
    )
    changed: AuthConfig = replace(auth, provider=providers)
    if auth.auth_state_key_file and not auth.auth_state_key:
        secret = at.secret(auth.auth_state_key_file, "auth.auth_state_key_file", say)
        if secret is not None and not is_secret(secret):
            message = f"it needs {SECRET_LEAST} or more characters. Use `openssl rand -hex 32`."
            say("auth.auth_state_key_file", message)
        changed = replace(changed, auth_state_key=secret or "")
    return replace(config, auth=changed)


class Folder:
    """The folder that paths are relative to."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def path(self, configured: str) -> Path:
        """Return the absolute path."""
        try:
            path = Path(configured).expanduser()
        except RuntimeError:  # this account has no home: the path stays, and cannot be read
            path = Path(configured)
        return path if path.is_absolute() or self._folder is None else self._folder / path

    def text(self, configured: str, key: str, say: Say, *, longest: int = LONGEST) -> str | None:
        """Return the text of a file, or None if it cannot be read, which is reported."""
        path = self.path(configured)
        try:
            if path.stat().st_size > longest:
                say(key, f"{path} is longer than {longest} bytes. Shorten it.")
                return None
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            say(key, f"{path} cannot be read: {reason}.")
            return None

    def secret(self, configured: str, key: str, say: Say) -> str | None:
        """Return a secret on one line; None as with `text`. A file that others can read is an error."""
        path = self.path(configured)
        text = self.text(configured, key, say)
        if text is None:
            return None
        if path.stat().st_mode & (stat.S_IRWXO | stat.S_IWGRP):
            say(key, f"{path} can be read by all users of this machine. Run chmod 600 on it.")
        return text.strip()


def _provider(provider: ProviderConfig, folder: Folder, key: str, say: Say) -> ProviderConfig:
    changes: dict[str, Any] = {}
    if provider.logo:
        path = folder.path(provider.logo)
        if not path.is_file():
            say(f"{key}.logo", f"there is no file {path}.")
        changes["logo"] = str(path)
    if provider.names_file:
        changes["names"] = {**_names(provider.names_file, folder, f"{key}.names_file", say), **provider.names}
    if isinstance(provider.options, Struct):
        changes["options"] = _table(provider.options, folder, f"{key}.{provider.kind}", say, kind_of(provider))
    return replace(provider, **changes)


def _table(table: Struct, folder: Folder, key: str, say: Say, kind: AuthenticatorKind) -> Struct:
    """Return a provider's table with the contents of each `X_file` in `X`, and with absolute paths.

    The kind says what is wrong with a secret.
    """
    fields = asdict(table)
    changes: dict[str, Any] = {}
    for name, value in fields.items():
        if not name.endswith(SUFFIX) or not isinstance(value, str) or not value:
            continue
        target = name.removesuffix(SUFFIX)
        if name in PATHS:
            path = folder.path(value)
            if not path.is_file():
                say(f"{key}.{name}", f"there is no file {path}.")
            changes[name] = str(path)
        elif target in fields and not fields[target]:
            secret = folder.secret(value, f"{key}.{name}", say)
            if secret == "":
                say(f"{key}.{name}", f"{folder.path(value)} is empty.")
            if secret and (fault := kind.secret_fault(target, secret, table)):
                say(f"{key}.{name}", fault)
            changes[target] = secret or ""
    return replace(table, **changes)


def _names(configured: str, folder: Folder, key: str, say: Say) -> dict[str, str]:
    """Read a table of names: the provider's and the hub's on each line; # begins a comment."""
    text = folder.text(configured, key, say, longest=NAMES_LONGEST)
    found: dict[str, str] = {}
    for number, line in enumerate((text or "").splitlines(), 1):
        parts = line.partition("#")[0].split()
        if not parts:
            continue
        where = f"line {number} of {folder.path(configured)}"
        if len(parts) != 2:  # noqa: PLR2004 - two names
            say(key, f"{where} must have two names.")
            continue
        theirs, ours = parts
        try:
            if user_name(ours) != ours or is_system(ours):
                say(key, f"{where}: {ours!r} is not a valid username.")
        except NameRuleError:
            say(key, f"{where}: {ours!r} is not a valid username.")
        if as_listed(theirs) in found:
            say(key, f"{where}: {theirs!r} is used twice.")
        found[as_listed(theirs)] = ours
    return found
