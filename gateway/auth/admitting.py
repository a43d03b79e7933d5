"""Letting somebody in: their record is made, or follows what was proven of them.

Owns: the user's record at a sign-in and whenever a provider is asked again. Refuses to know providers, sessions and the
rules themselves (`gateway.auth.admission`).
"""

import time
from typing import Final

from msgspec.structs import replace

from gateway.auth.admission import admin_after, judge
from gateway.auth.proof import Proven
from portal.site.sign_in import RefusedError
from state.config.tables import AuthConfig, ProviderConfig
from state.errors import ConflictError
from state.records.models import User
from state.store.all import Store

TRIES: Final = 5


class Admitting:
    """For one hub. Its verb raises RefusedError and StateUnavailableError."""

    def __init__(self, store: Store, config: AuthConfig) -> None:
        self._store = store
        self._config = config

    async def admit(self, provider: ProviderConfig, proven: Proven) -> User:
        """The record of who was proven; made at the first sign-in, changed where something of it has changed."""
        for _ in range(TRIES):
            user = await self._store.users.get(proven.name)
            verdict = judge(self._config, provider, proven, user.groups if user is not None else ())
            if not verdict.enters:
                shown = proven.shown or proven.name
                raise RefusedError(
                    f"You are signed in as {shown}, and {proven.name} may not enter this hub.",
                    hint="Sign in with another account, or ask the people who run this hub.",
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
                continue  # somebody else was quicker: what is there is looked at
            admin, admin_by = admin_after(user, verdict, provider)
            wanted = replace(
                user,
                admin=admin,
                admin_by=admin_by,
                groups=user.groups if proven.groups is None else proven.groups,
                subjects=_subjects(user, provider, proven),
            )
            if wanted == user:
                return user
            try:
                return await self._store.users.save(wanted)
            except ConflictError:
                continue
        raise RefusedError(f"{proven.name} is being changed by others just now.", hint="Try again.")


def _subjects(user: User, provider: ProviderConfig, proven: Proven) -> dict[str, str]:
    """Whose the name is at each provider. Raises RefusedError when it was another account's."""
    if not proven.subject:
        return user.subjects
    known = user.subjects.get(provider.name)
    if known is not None and known != proven.subject and provider.bound_names:
        raise RefusedError(
            f"“{proven.name}” is here for another account than the one that you are signed in with,"
            " though both had that name there.",
            hint="Ask the people who run this hub: they can remove the old one.",
            other=provider.name,
        )
    return {**user.subjects, provider.name: proven.subject}
