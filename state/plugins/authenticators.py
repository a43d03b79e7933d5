"""A way to sign in, described: what the configuration and the pages need to know of it.

A package brings one under the entry point group `towpath.authenticators`, with the kind as its name and an
`AuthenticatorKind` as its value. Towpath's own come by the same door (`gateway.auth.kinds`). Gateways open it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from msgspec import Struct

from state.config.tables import Config, ProviderConfig
from state.plugins.entry_points import PluginError, load, names
from state.plugins.options import NoOptions, Say, no_faults

GROUP: Final = "towpath.authenticators"
FORMS: Final = ("password", "link", "names")
REFRESH_SECONDS: Final = 300.0
GROUPS_OFF: Final = "groups are used, but this setting disables them. Change one of the two."


def _usual(_: Any) -> float:
    return REFRESH_SECONDS


def _none(_: Any) -> frozenset[str]:
    return frozenset()


def _zero(_: Any) -> float:
    return 0


def _no(_: Any) -> bool:
    return False


def _yes(_: Any) -> bool:
    return True


def _known(_: Any) -> tuple[str, str] | None:
    return None


def _good(*_: Any) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class AuthenticatorKind:
    """The description of a kind of sign-in provider, available without opening it. One of `open` and `proof` is set."""

    name: str
    open: str = ""
    """`MODULE:FUNCTION`, called by each gateway worker: `(options, AuthenticatorContext) -> Authenticator`."""
    proof: str = ""
    """Instead of `open`: `(ProviderConfig, ProofContext) -> Proof` (`gateway.auth.proof`).

    For kinds that do more than the contract of an authenticator says, such as to send users to pages of their own. Not
    a stable interface."""
    options: type[Struct] = NoOptions
    """The table `[auth.provider.<kind>]`: a frozen Struct, checked with the rest of the configuration.

    A key `X_file` fills the key `X` with the content of that file, which other users must not be able to read."""
    needs_table: bool = False
    """Whether the table must be there, although each of its keys has a default."""
    check: Callable[[Any, str, Say], None] = no_faults
    """Faults of the options that a type cannot express: `(options, key of the table, say)`. Pure."""
    check_config: Callable[[Config, ProviderConfig, str, Say], None] = no_faults
    """Faults that show only beside other tables: `(configuration, provider, key of the provider, say)`. Pure."""
    secret_fault: Callable[[str, str, Any], str] = _good
    """What is wrong with a secret from a file: `(key, secret, options)`; `""`: nothing."""
    title: str = "Sign in"
    """The title of the form or button, where the site gives none."""
    form: str = "password"
    """`password`: a form with name and password. `link`: a button; the request itself, or a page to which it leads,
    proves the user. `names`: a button for each name (with `proof` only)."""
    passwordless: bool = False
    """Whether anyone who reaches the hub can sign in. Then the hub must not be reachable from other machines."""
    timeout: float = 30.0
    """Seconds that one call may take, with `open`."""
    refresh: Callable[[Any], float] = _usual
    """Seconds between two checks of a signed-in user, with these options; 0: the user is not checked again."""
    max_session_age: Callable[[Any], float] = _zero
    """Seconds after which a session ends whose sign-in left nothing to check it again with; 0: it does not."""
    lasting: Callable[[Any], bool] = _yes
    """Whether a user who has no session left can still be checked."""
    admits: Callable[[Any], bool] = _no
    """Whether these options allow users to sign in, as the lists of the provider do."""
    rules_on_admins: Callable[[Any], bool] = _no
    """Whether these options decide who is an admin, as the lists of the provider do."""
    groups_fault: Callable[[Any], tuple[str, str] | None] = _known
    """Why the provider reports no groups with these options: the key that disables them, a sentence; None: it does."""
    hidden_headers: Callable[[Any], frozenset[str]] = _none
    """Request headers that prove users, with these options: no app receives them."""
    probe: str = ""
    """`MODULE:FUNCTION` for `towpath check`: `async (ProviderConfig, AuthConfig, hub URL) -> list[Probed]`.

    It asks the provider without a user (`gateway.auth.contract.Probed`); `""`: there is nothing to ask."""


def kind_names() -> list[str]:
    """Return the names of all ways to sign in that can be configured here."""
    return names(GROUP)


def find_kind(name: str) -> AuthenticatorKind | None:
    """Return the kind of this name, or None. Raises PluginError when it cannot be loaded."""
    found = load(GROUP, name)
    if found is None:
        return None
    if (
        not isinstance(found, AuthenticatorKind)
        or found.name != name
        or found.form not in FORMS
        or bool(found.open) == bool(found.proof)
        or (found.form == "names" and not found.proof)
    ):
        raise PluginError(f"The plug-in {name!r} of the group {GROUP} is not an AuthenticatorKind of that name.")
    return found


def kind_of(provider: ProviderConfig) -> AuthenticatorKind:
    """Return the kind of a configured provider. Raises PluginError when no package brings it."""
    found = find_kind(provider.kind)
    if found is None:
        known = ", ".join(kind_names())
        raise PluginError(f"There is no way to sign in named {provider.kind!r}; there is: {known}.")
    return found


def options_of(provider: ProviderConfig) -> Any:
    """Return the provider's own options, or their defaults where the configuration has none."""
    return kind_of(provider).options() if provider.options is None else provider.options


def without_password(config: Config) -> bool:
    """Return whether anyone who reaches the hub can sign in with one of its providers."""
    return config.auth is not None and any(kind_of(provider).passwordless for provider in config.auth.provider)


def hidden_headers(providers: Iterable[ProviderConfig]) -> frozenset[bytes]:
    """Return the headers of all providers that prove users, in lowercase."""
    return frozenset(
        name.lower().encode()
        for provider in providers
        for name in kind_of(provider).hidden_headers(options_of(provider))
    )
