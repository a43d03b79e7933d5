"""The test sign-in: a name without a password, for anyone at this machine.

Owns the rule that only requests that come directly from this machine may use it. The configuration is rejected if
the hub can be reached from other machines (`state.settings.auth_checks.exposed`); each request is checked as well.
Does not know about sessions and pages.
"""

import ipaddress
from collections.abc import Mapping
from typing import Final

from gateway.auth.portal_request import PortalRequest
from gateway.auth.proof import ProofContext, Proven
from portal.site.sign_in import Provider, RefusedError
from state.config.tables import ProviderConfig

PROXY_HEADERS: Final = ("forwarded", "via", "x-real-ip", "x-client-ip", "x-original-host")
"""Headers that proxies add, in addition to those that begin with `x-forwarded`."""


class PasswordlessProof:
    """The provider of kind `test` (`gateway.auth.proof.Proof`)."""

    def __init__(self, name: str, names: tuple[str, ...]) -> None:
        """`names`: the names that can be chosen."""
        self._names = names
        self.shown = Provider(
            name=name,
            title="Test sign-in",
            note="For trying out the hub, without passwords. Anyone on this machine can sign in as any user.",
            names=names,
        )

    async def prove(self, fields: Mapping[str, str], request: PortalRequest) -> Proven:
        """Return the chosen name. Raises RefusedError for other names, and for requests from other machines."""
        if not is_local_request(request.scope.get("client"), [name.lower() for name in request.headers]):
            raise RefusedError("The test sign-in works only on the hub's own machine.")
        name = fields.get("username", "")
        if name not in self._names:
            raise RefusedError("Choose one of the names.")
        return Proven(name=name)


def open_passwordless(provider: ProviderConfig, context: ProofContext) -> PasswordlessProof:
    """Return the provider, which offers the names that the configuration lists."""
    auth = context.auth
    return PasswordlessProof(provider.name, tuple(dict.fromkeys((*auth.allowed_users, *auth.admins))))


def is_local_request(client: tuple[str, int] | None, headers: list[str]) -> bool:
    """Return whether a request seems to come directly from this machine, without a proxy. Pure."""
    if client is None or any(name.startswith("x-forwarded") or name in PROXY_HEADERS for name in headers):
        return False
    try:
        return ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False
