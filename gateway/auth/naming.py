"""From a provider's name for somebody to the hub's, which is their Unix account's too: one declared rule.

Owns: the rule, what it refuses, and that two providers cannot prove the same name unless they are declared to know the
same people. Refuses to know how a name was proven. Pure functions.

    provider's name → the table `names`, else: in small letters → without `strip_domain` → behind `prefix`

Where a domain is stripped, a name that never had one is refused: it would be the same as somebody's that had.
"""

from collections.abc import Iterable, Mapping

from portal.site.sign_in import RefusedError
from state.config.tables import ProviderConfig
from state.errors import NameRuleError
from state.names import as_listed, is_system, user_name
from state.plugins import authenticators

SHOWN_MAX = 80
TYPED = ("ldap", "pam")
"""Kinds of provider at which people type their names: with a domain or without, it is the same account."""


def shown(raw: str) -> str:
    """A provider's name for somebody, as it may stand in a sentence."""
    plain = "".join(character if character.isprintable() else "?" for character in raw[:SHOWN_MAX])
    return plain if len(raw) <= SHOWN_MAX else f"{plain}…"


def hub_name(raw: str, provider: ProviderConfig, providers: Iterable[ProviderConfig], table: Mapping[str, str]) -> str:
    """The hub's name for whom `provider` calls `raw`. Raises RefusedError, with a sentence for them.

    `table`: the provider's names (in small letters) for whom no rule does, and the hub's. Nothing is repaired: what
    would need escaping has no name here, and letters that only look like ASCII ones are not taken for them.
    """
    if not raw:
        raise RefusedError("The provider says no name for you.", hint="Tell the people who run this hub.")
    lowered = as_listed(raw)
    mapped = table.get(lowered)
    try:
        name = user_name(mapped) if mapped is not None else _by_rule(lowered, provider)
    except NameRuleError as error:
        raise RefusedError(
            f"“{shown(raw)}” cannot be a name on this hub.",
            hint=f"{error} The people who run this hub can give you another (`names`).",
        ) from error
    if is_system(name):
        raise RefusedError(f"“{name}” is the name of a system account, and nobody may enter by it.")
    if mapped is None and (other := owner_of(name, provider, providers)) is not None:
        raise RefusedError(
            f"“{name}” is a name of those who sign in with {other.title or other.name}: this way it is not yours.",
            hint="Sign in there, or tell the people who run this hub.",
        )
    return name


def _by_rule(lowered: str, provider: ProviderConfig) -> str:
    """Raises NameRuleError."""
    if not lowered.isascii():
        raise NameRuleError("It has letters other than a to z.")
    domain = provider.strip_domain.lower()
    if domain and "@" not in lowered and not _is_typed(provider):
        raise NameRuleError("It has no domain, and names of this provider have one.")
    bare = lowered.removesuffix(f"@{domain}") if domain else lowered
    if bare != bare.strip():
        raise NameRuleError("It begins or ends with a space.")
    return user_name(provider.prefix + user_name(bare))


def _is_typed(provider: ProviderConfig) -> bool:
    """Return whether users type their names at this provider."""
    if provider.kind in authenticators.BUILT_IN:
        return provider.kind in TYPED
    return authenticators.kind_of(provider).form == "password"


def owner_of(name: str, mine: ProviderConfig, providers: Iterable[ProviderConfig]) -> ProviderConfig | None:
    """Another provider whose prefix this name begins with, longer than ours; None: the name is ours to prove.

    Of equal prefixes `collisions` speaks when the hub starts.
    """
    for other in providers:
        if other.name == mine.name or (mine.shared_names and other.shared_names):
            continue
        if len(other.prefix) > len(mine.prefix) and name.startswith(other.prefix):
            return other
    return None
