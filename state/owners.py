"""From a credential's record to an Identity: whose it is, and what they may do now.

Owns: what has to be read for that, and that it is read in few round trips, however many credentials there are.
Refuses to know caches and HTTP.
"""

from collections.abc import Sequence
from typing import Final

from state import scopes
from state.identity import Identity, groups_in
from state.records import Service, Session, Token, User
from state.roles import Roles
from state.store.all import Store

ACCESS: Final = "read:access:servers"
"""The least with which somebody reaches a server: what contains it is resolved from groups to users."""


class Owners:
    """The owners of credentials, by the store and the configured roles."""

    def __init__(self, store: Store, roles: Roles) -> None:
        self._store = store
        self._roles = roles

    async def identify(self, found: Sequence[tuple[str, Session | Token]]) -> list[Identity | None]:
        """The identities of (digest, record) pairs, in their order; None: there is no such owner (any more).

        Raises StateUnavailableError.
        """
        names = sorted({record.user for _, record in found if record.user})
        users = {user.name: user for user in await self._store.users.gather(names) if user is not None}
        services = await self._services(
            {record.service for _, record in found if isinstance(record, Token) and not record.user}
        )
        shared = await self._store.shares.scopes_of(list(users.values()))
        identities = [
            self._identity(
                digest, record, shared, users.get(record.user) if record.user else _service(record, services)
            )
            for digest, record in found
        ]
        return await self._with_access(identities)

    def of_service(self, service: Service, digest: str, token: Token) -> Identity:
        """The identity of a service by a token that is in no store."""
        held = scopes.narrow(token.scopes, self._roles.scopes_of_service(service))
        return Identity(service, digest, held, token=token)

    def _identity(
        self,
        digest: str,
        record: Session | Token,
        shared: dict[str, list[str]],
        owner: User | Service | None,
    ) -> Identity | None:
        if owner is None:
            return None
        if isinstance(owner, Service):
            assert isinstance(record, Token)  # a session is a user's
            return self.of_service(owner, digest, record)
        mine = self._roles.scopes_of_user(owner, shared.get(owner.name, ()))
        if isinstance(record, Session):
            return Identity(owner, digest, mine, session=record)
        return Identity(owner, digest, scopes.narrow(record.scopes, mine, user=owner.name), token=record)

    async def _with_access(self, identities: list[Identity | None]) -> list[Identity | None]:
        """The same, where access by group is resolved to the users who are in the group."""
        wanted = {name for one in identities if one is not None for name in groups_in(one.scopes, ACCESS)}
        if not wanted:
            return identities
        members = await self._store.groups.members(*sorted(wanted))
        return [None if one is None else resolved(one, members) for one in identities]

    async def _services(self, names: set[str]) -> dict[str, Service]:
        """The services of these names, configured or made by the API."""
        found = {name: self._roles.services[name] for name in names if name in self._roles.services}
        for name in sorted(names - set(found)):
            service = await self._store.services.get(name)
            if service is not None:
                found[name] = service
        return found


def resolved(identity: Identity, members: dict[str, list[str]]) -> Identity:
    """The identity with what it may access by groups, by `members`. Pure."""
    reach: set[str] = set()
    for held in identity.scopes:
        name, _, group = held.partition("!group=")
        if group and name in scopes.CONTAINERS[ACCESS]:
            reach.update(f"{name}!user={member}" for member in members.get(group, ()))
    return Identity(
        identity.owner,
        identity.digest,
        identity.scopes,
        session=identity.session,
        token=identity.token,
        access=frozenset(reach),
    )


def _service(record: Session | Token, services: dict[str, Service]) -> Service | None:
    return services.get(record.service) if isinstance(record, Token) else None
