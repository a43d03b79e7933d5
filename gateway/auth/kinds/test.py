"""The kind `test`: a name without a password, for anyone at this machine."""

from typing import Final

from state.config.tables import Config, ProviderConfig
from state.plugins.authenticators import AuthenticatorKind
from state.plugins.options import Say


def check_config(config: Config, provider: ProviderConfig, path: str, say: Say) -> None:
    """Report a list of names that is empty."""
    del provider
    auth = config.auth
    if auth is not None and not auth.admins and not auth.allowed_users:
        message = "the test sign-in offers the names in admins and allowed_users, and both are empty. Add a name."
        say(f"{path}.kind", message)


KIND: Final = AuthenticatorKind(
    name="test",
    proof="gateway.auth.passwordless:open_passwordless",
    title="Test sign-in",
    form="names",
    passwordless=True,
    check_config=check_config,
)
