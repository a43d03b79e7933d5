"""The provider of kind `ldap`: what the directory says, as the hub's sign-in takes it.

Owns: that translation, and how many sign-ins one worker puts to the directory at a time.
Refuses to know how a directory is asked.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.auth.ldap.directory import Directory, UnreachableError
from gateway.auth.naming import shown
from gateway.auth.proof import Proven
from gateway.auth.throttle import WRONG
from portal.auth import Provider, RefusedError, UnansweredError

AT_ONCE: Final = 32


class LdapProof:
    """See `gateway.auth.proof.Proof`."""

    def __init__(self, shown: Provider, directory: Directory, name_of: Callable[[str], str]) -> None:
        """`name_of`: from the directory's name to the hub's. Raises RefusedError."""
        self.shown = shown
        self._directory = directory
        self._name_of = name_of
        self._asking = asyncio.Semaphore(AT_ONCE)

    async def prove(self, fields: Mapping[str, str], request: Any) -> Proven:  # noqa: ARG002
        """The entry of this name and password. Raises RefusedError and UnansweredError."""
        try:
            async with self._asking:
                found = await self._directory.sign_in(fields.get("name", ""), fields.get("password", ""))
        except UnreachableError as error:
            raise UnansweredError(
                "The directory that knows names and passwords does not answer. Try again in a moment.",
                untried=not error.tried,
            ) from error
        if found is None:
            raise RefusedError(WRONG)
        return Proven(name=self._name_of(found.name), groups=found.groups, shown=shown(found.name))
