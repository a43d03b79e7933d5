"""The provider of kind `ldap`: converts the directory's answers for the hub's sign-in.

Owns this conversion, and the number of sign-ins that one worker sends to the directory at the same time. Does not know
how a directory is queried.
"""

from collections.abc import Callable, Mapping
from typing import Final

from gateway.auth.kinds.ldap import LdapConfig
from gateway.auth.ldap.directory import Directory, DirectoryUser, UnreachableError
from gateway.auth.naming import shown
from gateway.auth.portal_request import PortalRequest
from gateway.auth.proof import GoneError, ProofContext, Proven, UnsureError
from gateway.auth.throttle import WRONG
from gateway.auth.turns import Turns
from portal.site.sign_in import Provider, RefusedError, UnansweredError
from state.config.tables import ProviderConfig
from state.records.models import Standing

AT_ONCE: Final = 32
WAITING: Final = 256
"""Maximum of running and waiting sign-ins together."""
CHECKS_AT_ONCE: Final = 8
"""Checks of signed-in users at the same time."""


class LdapProof:
    """See `gateway.auth.proof.Proof`."""

    def __init__(self, shown: Provider, directory: Directory, name_of: Callable[[str], str]) -> None:
        """`name_of`: from the directory's name to the hub's name; raises RefusedError."""
        self.shown = shown
        self._directory = directory
        self._name_of = name_of
        self._turns = Turns(AT_ONCE, WAITING)
        self._again = Turns(CHECKS_AT_ONCE, WAITING)

    async def prove(self, fields: Mapping[str, str], request: PortalRequest) -> Proven:  # noqa: ARG002
        """Return the user with this name and password. Raises RefusedError and UnansweredError."""
        try:
            async with self._turns:
                found = await self._directory.sign_in(fields.get("username", ""), fields.get("password", ""))
        except UnreachableError as error:
            raise UnansweredError(
                "The directory that checks names and passwords does not answer. Try again in a moment.",
                untried=not error.tried,
            ) from error
        if found is None:
            raise RefusedError(WRONG)
        return self._proven(found, fields.get("username", ""))

    async def again(self, standing: Standing) -> tuple[Proven, str]:
        """See `gateway.auth.proof.RecheckableProof`: look the entry up, with its groups as they are now."""
        try:
            async with self._again:
                found = await self._directory.look_up(standing.sealed)
        except UnreachableError as error:
            raise UnsureError(str(error)) from error
        if found is None:
            raise GoneError("the directory has no such user any more")
        try:
            return self._proven(found, standing.sealed), standing.sealed
        except RefusedError as error:
            raise GoneError(str(error)) from error

    async def forget(self, standing: Standing) -> None:
        """See `gateway.auth.proof.RecheckableProof`. Only the typed name was kept, so there is nothing to do."""

    def _proven(self, found: DirectoryUser, typed: str) -> Proven:
        """Convert a user of the directory. Raises RefusedError."""
        return Proven(
            name=self._name_of(found.name),
            groups=found.groups,
            shown=shown(found.name),
            asks=self._directory.asks,
            kept=typed,
        )


def open_ldap(provider: ProviderConfig, context: ProofContext) -> LdapProof:
    """Return the provider."""
    return LdapProof(context.shown, Directory(provider.options or LdapConfig()), context.name_of)
