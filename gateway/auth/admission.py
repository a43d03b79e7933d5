"""The configuration's rules that decide who may sign in and who is an admin.

Access is denied by default: a user can sign in only if a list in the configuration allows it. Pure functions.
"""

from typing import Final, NamedTuple

from gateway.auth.proof import Proven
from state.config.tables import AuthConfig, ProviderConfig
from state.plugins.authenticators import kind_of, options_of
from state.records.models import User

BY_AUTH: Final = "auth"
"""The value of `User.admin_by` for users in the list of admins in [auth]."""


class Verdict(NamedTuple):
    """The decision. `admin` None: this provider has no rule on admins. `by`: the rule that made the user an admin."""

    allowed: bool
    admin: bool | None
    by: str = ""


def decide(auth: AuthConfig, provider: ProviderConfig, proven: Proven, held: tuple[str, ...]) -> Verdict:
    """Decide whether a user may sign in. `held`: the user's groups on the hub, for providers without groups."""
    groups = set(held if proven.groups is None else proven.groups)
    listed = proven.name in auth.admins
    admin = listed or proven.admin or proven.name in provider.admins or not groups.isdisjoint(provider.admin_groups)
    allowed = (
        admin
        or proven.allowed
        or provider.allow_all
        or proven.name in auth.allowed_users
        or proven.name in provider.allowed_users
        or bool(groups & {*auth.allowed_groups, *provider.allowed_groups})
    )
    if admin:
        return Verdict(allowed, admin=True, by=BY_AUTH if listed else by_provider(provider))
    return Verdict(allowed, admin=False if _rules_on_admins(provider) else None)


def admin_after(user: User, verdict: Verdict, provider: ProviderConfig) -> tuple[bool, str]:
    """Return `User.admin` and `User.admin_by` after a verdict on an existing user.

    A right that another admin gave stays until a provider with rules on admins decides otherwise. A right from a rule
    ends when that rule no longer gives it. A right that another provider's rule gave can only be revoked by that
    provider.
    """
    if verdict.admin:
        granted_by_admin = user.admin and not user.admin_by
        return True, "" if granted_by_admin else verdict.by
    of_another_provider = user.admin_by not in {"", BY_AUTH, by_provider(provider)}
    granted_by_admin = user.admin and not user.admin_by
    if user.admin and (of_another_provider or (granted_by_admin and verdict.admin is None)):
        return True, user.admin_by
    return False, ""


def still_admin(auth: AuthConfig, user: User) -> bool:
    """Return whether the configuration still makes this user an admin. No provider is asked."""
    if not user.admin_by:
        return True
    if user.admin_by == BY_AUTH:
        return user.name in auth.admins
    provider = next((one for one in auth.provider if by_provider(one) == user.admin_by), None)
    if provider is None:
        return False
    listed = user.name in provider.admins or not set(user.groups).isdisjoint(provider.admin_groups)
    return listed or _options_rule_on_admins(provider)


def by_provider(provider: ProviderConfig) -> str:
    """Return the value of `User.admin_by` for users whom this provider's rules make admins."""
    return f"provider:{provider.name}"


def _rules_on_admins(provider: ProviderConfig) -> bool:
    """Return whether the provider's table decides who is an admin. It then also decides who no longer is one."""
    return bool(provider.admins or provider.admin_groups) or _options_rule_on_admins(provider)


def _options_rule_on_admins(provider: ProviderConfig) -> bool:
    return kind_of(provider).rules_on_admins(options_of(provider))
