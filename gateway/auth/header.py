"""Sign-in by a header: a campus portal's proxy in front of the hub sends the name of the user who signed in there.

Owns the conditions under which that header is trusted. Does not know about the rules for names, and about sessions.

All of these must hold: the connection comes from a trusted proxy (by its own address, not by what it reports about
others); it sends the secret; and the header occurs once, under its exact name. Some servers read
`X_Remote_User` as `X-Remote-User`, so a header that could be mistaken for one of these makes the request invalid.
"""

import hmac
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from gateway.auth.kinds.header import HeaderConfig, names_of
from gateway.auth.naming import shown
from gateway.auth.portal_request import PortalRequest, peer_of
from gateway.auth.proof import ProofContext, Proven
from gateway.tunnel.forwarded import trusted
from gateway.tunnel.options import Network
from portal.site.sign_in import Provider, RefusedError
from state.config.tables import ProviderConfig
from state.errors import NameRuleError
from state.names import group_name
from state.records.models import Standing

VALUE_MAX: Final = 8 * 1024
ELSEWHERE: Final = "This sign-in works only through the portal. Open the hub from there."
CONFUSED: Final = "The portal sent invalid data about you. Tell your admin."


class HeaderProof:
    """The provider of kind `header` (`gateway.auth.proof.Proof`)."""

    def __init__(
        self,
        shown_as: Provider,
        config: HeaderConfig,
        name_of: Callable[[str], str],
        *,
        proxies: tuple[Network, ...],
    ) -> None:
        """`name_of`: converts the portal's name to the hub's; raises RefusedError."""
        self.shown = shown_as
        self._config = config
        self._name_of = name_of
        self._proxies = proxies

    async def prove(self, fields: Mapping[str, str], request: PortalRequest) -> Proven:  # noqa: ARG002
        """Return the user whom the portal reports. Raises RefusedError."""
        name, groups = portal_identity(peer_of(request), request.scope["headers"], self._config, self._proxies)
        return Proven(name=self._name_of(name), groups=groups, shown=shown(name))

    async def goodbye(self, standing: Standing) -> str:  # noqa: ARG002
        """See `gateway.auth.proof.SignOutProof`."""
        return self._config.sign_out_url


def open_header(provider: ProviderConfig, context: ProofContext) -> HeaderProof:
    """Return the provider."""
    config = provider.options or HeaderConfig()
    return HeaderProof(context.shown, config, context.name_of, proxies=context.proxies)


def portal_identity(
    peer: str, headers: Iterable[tuple[bytes, bytes]], config: HeaderConfig, proxies: tuple[Network, ...]
) -> tuple[str, tuple[str, ...] | None]:
    """Return the name and groups that the portal reports. Raises RefusedError. Pure."""
    if not trusted(peer, proxies):
        raise RefusedError(ELSEWHERE)
    ours = {name.encode() for name in names_of(config)}
    found: dict[bytes, bytes] = {}
    for raw, value in headers:
        name = raw.lower()
        if name.replace(b"_", b"-") not in {one.replace(b"_", b"-") for one in ours}:
            continue
        if name not in ours or name in found:
            raise RefusedError(CONFUSED)
        found[name] = value.strip()
    secret = found.get(config.secret_header.lower().encode(), b"")
    if not config.secret or not hmac.compare_digest(secret, config.secret.encode()):
        raise RefusedError(ELSEWHERE)
    user = _text(found.get(config.header.lower().encode(), b""))
    if not user:
        raise RefusedError("The portal did not send your name.", hint="Sign in to the portal first.")
    if not config.groups_header:
        return user, None
    listed = _text(found.get(config.groups_header.lower().encode(), b"")).split(config.groups_separator)
    try:
        return user, tuple(sorted({group_name(group) for group in listed if group.strip()}))
    except NameRuleError as error:
        raise RefusedError(CONFUSED) from error


def _text(value: bytes) -> str:
    if len(value) > VALUE_MAX:
        raise RefusedError(CONFUSED)
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise RefusedError(CONFUSED) from error
