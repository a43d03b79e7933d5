"""A way to sign in that another package brings, described: what the configuration and the pages need to know of it.

A package brings one under the entry point group `towpath.authenticators`, with the kind as its name and an
`AuthenticatorKind` as its value. Gateways open it (`gateway.auth.contract.Authenticator`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from msgspec import Struct

from state.config.tables import ProviderConfig
from state.plugins.entry_points import PluginError, load, names
from state.plugins.options import NoOptions, Say, no_faults

GROUP: Final = "towpath.authenticators"
BUILT_IN: Final = frozenset({"oidc", "ldap", "pam", "header", "test"})
"""Ways to sign in whose tables are fields of ProviderConfig. No other package can take their names."""
FORMS: Final = ("password", "link")
REFRESH_SECONDS: Final = 300.0


def _usual(_: Any) -> float:
    return REFRESH_SECONDS


def _none(_: Any) -> frozenset[str]:
    return frozenset()


@dataclass(frozen=True, kw_only=True)
class AuthenticatorKind:
    """The description of a kind of sign-in provider, available without opening it."""

    name: str
    open: str
    """`MODULE:FUNCTION`, called by each gateway worker: `(options, AuthenticatorContext) -> Authenticator`."""
    options: type[Struct] = NoOptions
    """The table `[auth.provider.<kind>]`: a frozen Struct, checked with the rest of the configuration.

    A key `X_file` fills the key `X` with the content of that file, which other users must not be able to read."""
    check: Callable[[Any, str, Say], None] = no_faults
    """Faults of the options that a type cannot express: `(options, key of the table, say)`. Pure."""
    title: str = "Sign in"
    """The title of the form or button, where the site gives none."""
    form: str = "password"
    """`password`: a form with name and password. `link`: a button; the request itself proves the user."""
    timeout: float = 30.0
    """Seconds that one call may take."""
    refresh: Callable[[Any], float] = _usual
    """Seconds between two checks of a signed-in user, with these options; 0: the user is not checked again."""
    hidden_headers: Callable[[Any], frozenset[str]] = _none
    """Request headers that prove users, with these options: no app receives them."""


def kind_names() -> list[str]:
    """Return the names of all ways to sign in that other packages bring."""
    return names(GROUP)


def find_kind(name: str) -> AuthenticatorKind | None:
    """Return the kind of this name, or None. Raises PluginError when it cannot be loaded."""
    found = load(GROUP, name)
    if found is None:
        return None
    if not isinstance(found, AuthenticatorKind) or found.name != name or found.form not in FORMS:
        raise PluginError(f"The plug-in {name!r} of the group {GROUP} is not an AuthenticatorKind of that name.")
    return found


def kind_of(provider: ProviderConfig) -> AuthenticatorKind:
    """Return the kind of a configured provider. Raises PluginError when no package brings it."""
    found = find_kind(provider.kind)
    if found is None:
        raise PluginError(f"There is no way to sign in named {provider.kind!r}.")
    return found


def options_of(provider: ProviderConfig) -> Any:
    """Return the provider's own options, or their defaults where the configuration has none."""
    return kind_of(provider).options() if provider.options is None else provider.options
