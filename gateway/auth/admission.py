"""Who may enter, and who is an admin: the configuration's rules on what a provider has proved.

Owns: that decision. Refuses to know providers, sessions and records. Default deny: every way in is a list that names
somebody. Pure functions.
"""

from typing import NamedTuple

from gateway.auth.proof import Proven
from state.config.tables import AuthConfig, ProviderConfig


class Verdict(NamedTuple):
    """`admin` None: no rule speaks of it, and what the hub holds stays."""

    enters: bool
    admin: bool | None


def judge(auth: AuthConfig, provider: ProviderConfig, proven: Proven, held: tuple[str, ...]) -> Verdict:
    """Whether somebody may enter by this provider. `held`: their groups on the hub, where the provider knows none."""
    groups = set(held if proven.groups is None else proven.groups)
    admin = (
        proven.admin
        or proven.name in auth.admins
        or proven.name in provider.admins
        or bool(groups & set(provider.admin_groups))
    )
    enters = (
        admin
        or proven.allowed
        or provider.allow_all
        or proven.name in auth.allowed_users
        or proven.name in provider.allowed_users
        or bool(groups & {*auth.allowed_groups, *provider.allowed_groups})
    )
    return Verdict(enters, admin if admin or _rules_on_admins(provider) else None)


def _rules_on_admins(provider: ProviderConfig) -> bool:
    """Whether the provider's own table decides who is an admin: then it also says who is none (any more)."""
    claims = provider.oidc.admin_claims if provider.oidc is not None else {}
    return bool(provider.admins or provider.admin_groups or claims)
