"""Who may enter, and who is an admin: the configuration's rules on what a provider has proved.

Default deny: every way in is a list that names somebody. Pure functions; providers, sessions and records are elsewhere.
"""

from typing import Final, NamedTuple

from gateway.auth.proof import Proven
from state.config.tables import AuthConfig, ProviderConfig
from state.records.models import User

BY_AUTH: Final = "auth"
"""`User.admin_by` of those whom the list in [auth] names."""


class Verdict(NamedTuple):
    """`admin` None: no rule of this provider's speaks of it. `by`: the rule that made a user an admin (`admin_by`)."""

    enters: bool
    admin: bool | None
    by: str = ""


def judge(auth: AuthConfig, provider: ProviderConfig, proven: Proven, held: tuple[str, ...]) -> Verdict:
    """Whether a user may enter by this provider. `held`: their groups on the hub, where the provider knows none."""
    groups = set(held if proven.groups is None else proven.groups)
    listed = proven.name in auth.admins
    admin = listed or proven.admin or proven.name in provider.admins or not groups.isdisjoint(provider.admin_groups)
    enters = (
        admin
        or proven.allowed
        or provider.allow_all
        or proven.name in auth.allowed_users
        or proven.name in provider.allowed_users
        or bool(groups & {*auth.allowed_groups, *provider.allowed_groups})
    )
    if admin:
        return Verdict(enters, admin=True, by=BY_AUTH if listed else by_provider(provider))
    return Verdict(enters, admin=False if _rules_on_admins(provider) else None)


def admin_after(user: User, verdict: Verdict, provider: ProviderConfig) -> tuple[bool, str]:
    """`User.admin` and `User.admin_by` after a verdict on an existing user.

    A right that another admin gave stays until a provider with rules on admins says otherwise. A right that came from a
    rule ends when that rule no longer gives it; what another provider's rule gave is that provider's to take away.
    """
    if verdict.admin:
        given_by_hand = user.admin and not user.admin_by
        return True, "" if given_by_hand else verdict.by
    of_another_provider = user.admin_by not in {"", BY_AUTH, by_provider(provider)}
    given_by_hand = user.admin and not user.admin_by
    if user.admin and (of_another_provider or (given_by_hand and verdict.admin is None)):
        return True, user.admin_by
    return False, ""


def still_admin(auth: AuthConfig, user: User) -> bool:
    """Whether an admin keeps that right by the configuration alone, without asking a provider."""
    if not user.admin_by:
        return True
    if user.admin_by == BY_AUTH:
        return user.name in auth.admins
    provider = next((one for one in auth.provider if by_provider(one) == user.admin_by), None)
    if provider is None:
        return False
    claims = provider.oidc.admin_claims if provider.oidc is not None else {}
    return user.name in provider.admins or not set(user.groups).isdisjoint(provider.admin_groups) or bool(claims)


def by_provider(provider: ProviderConfig) -> str:
    """`User.admin_by` of those whom this provider's rules make admins."""
    return f"provider:{provider.name}"


def _rules_on_admins(provider: ProviderConfig) -> bool:
    """Whether the provider's own table decides who is an admin: then it also says who is none any more."""
    claims = provider.oidc.admin_claims if provider.oidc is not None else {}
    return bool(provider.admins or provider.admin_groups or claims)
