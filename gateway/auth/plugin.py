"""A way to sign in of another package, as the hub uses it: with a time limit, and without trust in its errors."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from typing import Final, TypeVar

from gateway.auth.contract import Account, Authenticator, AuthenticatorContext, SignInRequest
from gateway.auth.naming import shown
from gateway.auth.portal_request import PortalRequest, peer_of
from gateway.auth.proof import GoneError, Proven, UnsureError
from gateway.tunnel.options import Network
from portal.site.sign_in import Provider, RefusedError, UnansweredError
from state.config.tables import ProviderConfig
from state.errors import ConfigError, Fault, NameRuleError
from state.names import group_name
from state.plugins.authenticators import AuthenticatorKind, options_of
from state.records.models import Standing

log = logging.getLogger("towpath.sign-in")

T = TypeVar("T")
NO_ANSWER: Final = "The sign-in service does not answer. Try again later, or tell the admins of this hub."


class PluginProof:
    """The provider of a plug-in's kind (`gateway.auth.proof.Proof` and `RecheckableProof`)."""

    def __init__(
        self, shown_as: Provider, kind: AuthenticatorKind, authenticator: Authenticator, name_of: Callable[[str], str]
    ) -> None:
        """`name_of`: from the provider's name to the hub's; raises RefusedError."""
        self.shown = shown_as
        self._kind = kind
        self._authenticator = authenticator
        self._name_of = name_of

    async def prove(self, fields: Mapping[str, str], request: PortalRequest) -> Proven:
        """Return the account that the request proves. Raises RefusedError, UnansweredError."""
        sign_in = SignInRequest(
            fields=dict(fields),
            headers=tuple(
                (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers(request)
            ),
            peer=peer_of(request),
            address=request.scope["state"]["address"],
        )
        try:
            account = await self._limited(self._authenticator.prove(sign_in))
        except (RefusedError, UnansweredError):
            raise
        except Exception as error:
            self._log("prove", error)
            raise UnansweredError(NO_ANSWER) from error
        return self._proven(account)

    async def again(self, standing: Standing) -> tuple[Proven, str]:
        """See `gateway.auth.proof.RecheckableProof`."""
        try:
            account = await self._limited(self._authenticator.check(standing.sealed))
        except (GoneError, UnsureError):
            raise
        except Exception as error:
            self._log("check", error)
            raise UnsureError(str(error)) from error
        try:
            return self._proven(account), account.kept
        except RefusedError as error:
            raise GoneError(str(error)) from error

    async def forget(self, standing: Standing) -> None:
        """See `gateway.auth.proof.RecheckableProof`. Nothing was kept that could be revoked."""

    async def close(self) -> None:
        """Close its connections."""
        try:
            await self._limited(self._authenticator.close())
        except Exception as error:  # noqa: BLE001 - another package's code
            self._log("close", error)

    async def _limited(self, answer: Awaitable[T]) -> T:
        async with asyncio.timeout(self._kind.timeout):
            return await answer

    def _proven(self, account: Account) -> Proven:
        """Map the account to the hub's names. Raises RefusedError."""
        if not isinstance(account, Account):
            log.error("A sign-in plug-in returned no Account. provider=%s type=%s", self.shown.name, type(account))
            raise RefusedError(NO_ANSWER)
        try:
            groups = None if account.groups is None else tuple(sorted({group_name(one) for one in account.groups}))
        except NameRuleError as error:
            raise RefusedError(f"One of your groups has a name that this hub cannot use: {error}") from error
        return Proven(
            name=self._name_of(account.name),
            groups=groups,
            shown=shown(account.name),
            subject=account.subject,
            asks=self._kind.form == "password" or bool(account.kept),
            kept=account.kept,
            auth_state=account.auth_state,
        )

    def _log(self, verb: str, error: Exception) -> None:
        log.error("A sign-in plug-in failed. provider=%s verb=%s", self.shown.name, verb, exc_info=error)


def open_authenticator(
    provider: ProviderConfig, kind: AuthenticatorKind, *, proxies: tuple[Network, ...], hub_url: str
) -> Authenticator:
    """Return the plug-in's authenticator for a provider. Raises ConfigError if it cannot be opened."""
    module, _, attribute = kind.open.partition(":")
    context = AuthenticatorContext(
        provider=provider.name, trusted_proxies=tuple(str(network) for network in proxies), hub_url=hub_url
    )
    try:
        opened: Authenticator = getattr(import_module(module), attribute)(options_of(provider), context)
    except Exception as error:
        message = f"The sign-in plug-in {kind.name!r} cannot be opened: {type(error).__name__}: {error}"
        raise ConfigError([Fault("", f"auth.provider.{provider.name}", message)]) from error
    return opened


def headers(request: PortalRequest) -> list[tuple[bytes, bytes]]:
    """Return the request's headers without those that hold the hub's own credentials."""
    return [(name, value) for name, value in request.scope["headers"] if name.lower() != b"cookie"]
