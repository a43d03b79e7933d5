"""Sign-in by a header: the proxy of a campus portal stands in front of the hub, and says who has signed in there.

Owns: when that header is believed. Refuses to know what a name may be, and sessions.

Three things must come together: the connection's other end is a trusted proxy (its own address, not what it says of
others); it knows the secret; and the header is there once, under its own name. Programs behind other servers read
`X_Remote_User` as `X-Remote-User`, so whatever could be taken for one of these headers is in the way of all of them.
"""

import hmac
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from gateway.auth.naming import shown
from gateway.auth.proof import Proven
from gateway.tunnel.forwarded import trusted
from gateway.tunnel.options import Network
from portal.site.sign_in import Provider, RefusedError
from state.config.tables import HeaderConfig, ProviderConfig
from state.errors import NameRuleError
from state.names import group_name
from state.plugins import authenticators

VALUE_MAX: Final = 8 * 1024
ELSEWHERE: Final = "This way in is for people who come from the portal."
CONFUSED: Final = "What the portal says of you cannot be read."


def names_of(config: HeaderConfig) -> frozenset[bytes]:
    """The headers of one portal, in small letters: no app gets to see them."""
    return frozenset(
        name.lower().encode() for name in (config.header, config.secret_header, config.groups_header) if name
    )


def hidden(providers: Iterable[ProviderConfig]) -> frozenset[bytes]:
    """Return the headers of all providers that prove users."""
    found: set[bytes] = set()
    for provider in providers:
        if provider.header:
            found |= names_of(provider.header)
        elif provider.kind not in authenticators.BUILT_IN:
            names = authenticators.kind_of(provider).hidden_headers(authenticators.options_of(provider))
            found |= {name.lower().encode() for name in names}
    return frozenset(found)


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
        """`name_of`: from the portal's name to the hub's; raises RefusedError."""
        self.shown = shown_as
        self.sign_out_url = config.sign_out_url
        self._config = config
        self._name_of = name_of
        self._proxies = proxies

    async def prove(self, fields: Mapping[str, str], request: Any) -> Proven:  # noqa: ARG002
        """Whom the portal says that this is. Raises RefusedError."""
        name, groups = believed(request.scope["client"][0], request.scope["headers"], self._config, self._proxies)
        return Proven(name=self._name_of(name), groups=groups, shown=shown(name))


def believed(
    peer: str, headers: Iterable[tuple[bytes, bytes]], config: HeaderConfig, proxies: tuple[Network, ...]
) -> tuple[str, tuple[str, ...] | None]:
    """The name and the groups that the portal says. Raises RefusedError. Pure."""
    if not trusted(peer, proxies):
        raise RefusedError(ELSEWHERE)
    ours = names_of(config)
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
    told = _text(found.get(config.header.lower().encode(), b""))
    if not told:
        raise RefusedError("The portal does not say who you are.", hint="Sign in there first.")
    if not config.groups_header:
        return told, None
    listed = _text(found.get(config.groups_header.lower().encode(), b"")).split(config.groups_separator)
    try:
        return told, tuple(sorted({group_name(group) for group in listed if group.strip()}))
    except NameRuleError as error:
        raise RefusedError(CONFUSED) from error


def _text(value: bytes) -> str:
    if len(value) > VALUE_MAX:
        raise RefusedError(CONFUSED)
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise RefusedError(CONFUSED) from error
