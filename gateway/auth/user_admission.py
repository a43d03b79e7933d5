"""Creates or updates a user's record from what a provider has proven.

Owns the user's record at each sign-in and each later check. Does not know about providers, sessions and the
rules themselves (`gateway.auth.admission`).
"""

import time
from typing import Final

from msgspec.structs import replace

from gateway.auth.admission import admin_after, decide
from gateway.auth.proof import Proven
from portal.site.sign_in import RefusedError
from state.config.tables import AuthConfig, ProviderConfig
from state.errors import ConflictError
from state.records.models import User
from state.store.all import Store

TRIES: Final = 5


class UserAdmission:
    """Admits users to one hub. Methods raise RefusedError and StateUnavailableError."""

    def __init__(self, store: Store, config: AuthConfig) -> None:
        self._store = store
        self._config = config

    async def admit(self, provider: ProviderConfig, proven: Proven) -> User:
        """Return the user's record, which is created at the first sign-in and updated if something has changed.

        What the provider leaves for hooks is kept, encrypted, if the site asks for it. Where no provider does any more,
        what was kept before is removed.
        """
        user = await self._admit(provider, proven)
        if provider.auth_state and proven.auth_state is not None:
            await self._store.auth_states.put(user.name, proven.auth_state, secret=self._config.auth_state_key)
        elif not any(one.auth_state for one in self._config.provider):
            await self._store.auth_states.drop(user.name)
        return user

    async def _admit(self, provider: ProviderConfig, proven: Proven) -> User:
        for _ in range(TRIES):
            user = await self._store.users.get(proven.name)
            verdict = decide(self._config, provider, proven, user.groups if user is not None else ())
            if not verdict.allowed:
                shown = proven.shown or proven.name
                raise RefusedError(
                    f"You are signed in as {shown}, but {proven.name} is not allowed to use this hub.",
                    hint="Sign in with another account, or ask your admin for access.",
                    other=provider.name,
                )
            if user is None:
                fresh = User(
                    name=proven.name,
                    admin=bool(verdict.admin),
                    admin_by=verdict.by,
                    groups=proven.groups or (),
                    created=time.time(),
                    subjects={provider.name: proven.subject} if proven.subject else {},
                )
                if await self._store.users.add(fresh):
                    return replace(fresh, revision=1)
                continue  # another worker has created the user: read the record again
            admin, admin_by = admin_after(user, verdict, provider)
            updated = replace(
                user,
                admin=admin,
                admin_by=admin_by,
                groups=user.groups if proven.groups is None else proven.groups,
                subjects=_subjects(user, provider, proven),
            )
            if updated == user:
                return user
            try:
                return await self._store.users.save(updated)
            except ConflictError:
                continue
        raise RefusedError(f"Others are changing the user {proven.name} right now.", hint="Try again.")


def _subjects(user: User, provider: ProviderConfig, proven: Proven) -> dict[str, str]:
    """Return the user's account at each provider. Raises RefusedError if the name belonged to another account."""
    if not proven.subject:
        return user.subjects
    known = user.subjects.get(provider.name)
    if known is not None and known != proven.subject and provider.bound_names:
        raise RefusedError(
            f"“{proven.name}” belongs to another account at {provider.title or provider.name},"
            " which had the same name before.",
            hint="Ask your admin to remove the old user.",
            other=provider.name,
        )
    return {**user.subjects, provider.name: proven.subject}
