"""The test sign-in: a name without a password, for whoever sits at this machine.

Owns: the rule that only a request that came straight from this machine may use it. The configuration is refused where
the hub could be reached from elsewhere (`state.settings.checks.exposed`); this looks at each request all the same.
Refuses to know sessions and pages.
"""

import ipaddress
from collections.abc import Mapping
from typing import Any, Final

from gateway.auth.proof import Proven
from portal.site.sign_in import Provider, RefusedError

BROUGHT_ALONG: Final = ("forwarded", "via", "x-real-ip", "x-client-ip", "x-original-host")
"""Headers that something in between has added, beside all that begin with `x-forwarded`."""


class NameAlone:
    """The provider of kind `test` (`gateway.auth.proof.Proof`)."""

    def __init__(self, name: str, names: tuple[str, ...]) -> None:
        """`names`: who may be picked."""
        self._names = names
        self.shown = Provider(
            name=name,
            title="Test sign-in",
            note="Without passwords, to try the hub out: anybody on this machine may sign in as anybody.",
            names=names,
        )

    async def prove(self, fields: Mapping[str, str], request: Any) -> Proven:
        """The name that was picked. Raises RefusedError for any other, and for a request from elsewhere."""
        if not from_here(request.scope.get("client"), [name.lower() for name in request.headers]):
            raise RefusedError("The test sign-in is only for people at the hub's own machine.")
        name = fields.get("name", "")
        if name not in self._names:
            raise RefusedError("Pick one of the names.")
        return Proven(name=name)


def from_here(client: tuple[str, int] | None, headers: list[str]) -> bool:
    """Whether a request came from this machine with nothing in between, as far as anybody can tell. Pure."""
    if client is None or any(name.startswith("x-forwarded") or name in BROUGHT_ALONG for name in headers):
        return False
    try:
        return ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False
