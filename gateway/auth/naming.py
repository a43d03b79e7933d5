"""Converts a provider's name for a user to the hub's name, which is also the name of the Unix account.

Owns the rule, what it rejects, and that two providers cannot prove the same name unless the configuration says that
they have the same users. Does not know how a name was proven. Pure functions.

    provider's name → the table `names`, else: in lowercase → without `strip_domain` → with `prefix`

If a domain is stripped, a name without a domain is rejected: it would collide with a name that had it.
"""

from collections.abc import Iterable, Mapping

from portal.site.sign_in import RefusedError
from state.config.tables import ProviderConfig
from state.errors import NameRuleError
from state.names import as_listed, is_system, user_name
from state.plugins import authenticators

SHOWN_MAX = 80


def shown(raw: str) -> str:
    """Return a provider's name for a user in a form that is safe to show in a message."""
    plain = "".join(character if character.isprintable() else "?" for character in raw[:SHOWN_MAX])
    return plain if len(raw) <= SHOWN_MAX else f"{plain}…"


def hub_name(raw: str, provider: ProviderConfig, providers: Iterable[ProviderConfig], table: Mapping[str, str]) -> str:
    """Return the hub's name for the user whom `provider` calls `raw`. Raises RefusedError with a message for the user.

    `table`: the hub's names for some of the provider's names (in lowercase). Nothing is escaped or repaired: a name
    that would need it is rejected, and letters that only look like ASCII letters are not replaced by them.
    """
    if not raw:
        raise RefusedError("The provider did not send a name for you.", hint="Tell your admin.")
    lowered = as_listed(raw)
    mapped = table.get(lowered)
    try:
        name = user_name(mapped) if mapped is not None else _by_rule(lowered, provider)
    except NameRuleError as error:
        raise RefusedError(
            f"“{shown(raw)}” is not a valid user name on this hub.",
            hint=f"{error} Your admin can give you another name (`names` in the configuration).",
        ) from error
    if is_system(name):
        raise RefusedError(f"“{name}” is a system account, and system accounts cannot sign in. Use another account.")
    if mapped is None and (other := owner_of(name, provider, providers)) is not None:
        raise RefusedError(
            f"“{name}” is reserved for users of {other.title or other.name}.",
            hint="Sign in there, or ask your admin.",
        )
    return name


def _by_rule(lowered: str, provider: ProviderConfig) -> str:
    """Return the name by the provider's rule. Raises NameRuleError."""
    if not lowered.isascii():
        raise NameRuleError("It contains letters other than a to z.")
    domain = provider.strip_domain.lower()
    if domain and "@" not in lowered and not _is_typed(provider):
        raise NameRuleError("It has no domain, but names of this provider have one.")
    bare = lowered.removesuffix(f"@{domain}") if domain else lowered
    if bare != bare.strip():
        raise NameRuleError("It begins or ends with a space.")
    return user_name(provider.prefix + user_name(bare))


def _is_typed(provider: ProviderConfig) -> bool:
    """Return whether users type their names at this provider. Then it is the same account without the domain."""
    return authenticators.kind_of(provider).form == "password"


def owner_of(name: str, mine: ProviderConfig, providers: Iterable[ProviderConfig]) -> ProviderConfig | None:
    """Return another provider whose longer prefix reserves this name; None if this provider may prove the name.

    `collisions` reports equal prefixes when the hub starts.
    """
    for other in providers:
        if other.name == mine.name or (mine.shared_names and other.shared_names):
            continue
        if len(other.prefix) > len(mine.prefix) and name.startswith(other.prefix):
            return other
    return None
