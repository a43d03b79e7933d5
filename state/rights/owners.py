"""From a credential's record to an Identity: whose it is, and what they may do now.

Owns: what has to be read for that, and that it is read in few round trips, however many credentials there are.
Refuses to know caches and HTTP.
"""

from collections.abc import Sequence
from typing import Final

from state.records.models import Service, Session, Token, User
from state.rights import scopes
from state.rights.identity import Identity, groups_in
from state.rights.roles import Roles
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
        owners = [users.get(record.user) if record.user else _service(record, services) for _, record in found]
        mine = [self._all(owner, shared) for owner in owners]
        wanted = set().union(*(groups_in(held, ACCESS) for held in mine))
        members = await self._store.groups.members(*sorted(wanted)) if wanted else {}
        return [
            None if owner is None else _identity(digest, record, owner, held, members)
            for (digest, record), owner, held in zip(found, owners, mine, strict=True)
        ]

    def of_service(self, service: Service, digest: str, token: Token) -> Identity:
        """The identity of a service by a token that is in no store."""
        held = scopes.narrow(token.scopes, self._roles.scopes_of_service(service))
        return Identity(service, digest, held, token=token)

    def _all(self, owner: User | Service | None, shared: dict[str, list[str]]) -> frozenset[str]:
        """All that an owner may do. `shared`: user → the scopes that others' shares give them."""
        if owner is None:
            return frozenset()
        if isinstance(owner, Service):
            return self._roles.scopes_of_service(owner)
        return self._roles.scopes_of_user(owner, shared.get(owner.name, ()))

    async def _services(self, names: set[str]) -> dict[str, Service]:
        """The services of these names, configured or made by the API."""
        found = {name: self._roles.services[name] for name in names if name in self._roles.services}
        for name in sorted(names - set(found)):
            service = await self._store.services.get(name)
            if service is not None:
                found[name] = service
        return found


def _identity(
    digest: str, record: Session | Token, owner: User | Service, mine: frozenset[str], members: dict[str, list[str]]
) -> Identity:
    """The identity of an owner who may do `mine`. A token may be for one server that they reach by a group. Pure."""
    reach = reached(mine, members)
    if isinstance(record, Session):
        return Identity(owner, digest, mine, session=record, access=reach)
    user = owner.name if isinstance(owner, User) else ""
    held = scopes.narrow((*record.scopes, *scopes.identify(owner.name, person=bool(user))), mine, user=user)
    if reach:
        held |= scopes.narrow((scope for scope in record.scopes if scope != "inherit"), reach, user=user)
    through = groups_in(mine, ACCESS)
    return Identity(owner, digest, held, token=record, access=reached(held, members), through=through)


def reached(held: frozenset[str], members: dict[str, list[str]]) -> frozenset[str]:
    """What these scopes give access to by groups, as scopes of the groups' members. Pure."""
    reach: set[str] = set()
    for scope in held:
        name, _, group = scope.partition("!group=")
        if group and name in scopes.CONTAINERS[ACCESS]:
            reach.update(f"{name}!user={member}" for member in members.get(group, ()))
    return frozenset(reach)


def _service(record: Session | Token, services: dict[str, Service]) -> Service | None:
    return services.get(record.service) if isinstance(record, Token) else None
