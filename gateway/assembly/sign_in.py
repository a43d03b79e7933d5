"""Creates sign-in."""

from typing import TYPE_CHECKING

from gateway.auth.account import local_user
from gateway.auth.addresses import hub_url
from gateway.auth.cookies import CookieJar
from gateway.tunnel.options import Network
from state.account import account_name
from state.config.tables import AuthConfig, Config
from state.store.all import Store

if TYPE_CHECKING:
    from gateway.auth.local import LocalAuth
    from gateway.auth.shared import SharedAuth


def sign_in(config: Config, store: Store, jar: CookieJar, proxies: tuple[Network, ...]) -> "SharedAuth | LocalAuth":
    """Create sign-in by [auth]; without it, for the single user of this machine."""
    limit = config.limits.sessions_per_user
    if config.auth is not None:
        from gateway.auth.shared import SharedAuth  # noqa: PLC0415 - each hub loads its own kind of sign-in

        return SharedAuth(store, jar, config.auth, hub_url=hub_url(config), proxies=proxies, limit=limit)
    user = local_user(account_name())
    from gateway.auth.local import LocalAuth  # noqa: PLC0415

    return LocalAuth(store, jar, lifetime=AuthConfig().session_lifetime, user=user, limit=limit)
