"""Resolves the records of credentials to identities.

Owns which records this takes, and reads them in few round trips for any number of credentials. Does not know caches or
HTTP.
"""

from collections.abc import Sequence
from typing import Final

from state.records.models import Service, Session, Token, User
from state.rights import scopes
from state.rights.identity import Identity, groups_in
from state.rights.roles import Roles
from state.store.all import Store

ACCESS: Final = "read:access:servers"
"""The weakest scope that gives access to a server. Group filters of scopes that contain it are resolved to users."""


class Owners:
    """Looks up the owners of credentials in the store and the configured roles."""

    def __init__(self, store: Store, roles: Roles) -> None:
        self._store = store
        self._roles = roles

    async def identify(self, found: Sequence[tuple[str, Session | Token]]) -> list[Identity | None]:
        """Return the identity of each (digest, record), in order. None: the owner does not exist.

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
        groups = set().union(*(groups_in(held, ACCESS) for held in mine))
        members = await self._store.groups.members(*sorted(groups)) if groups else {}
        return [
            None if owner is None else _identity(digest, record, owner, held, members)
            for (digest, record), owner, held in zip(found, owners, mine, strict=True)
        ]

    def of_service(self, service: Service, digest: str, token: Token) -> Identity:
        """Return the identity of a service whose token is not in the store."""
        held = scopes.narrow(token.scopes, self._roles.scopes_of_service(service))
        return Identity(service, digest, held, token=token)

    def _all(self, owner: User | Service | None, shared: dict[str, list[str]]) -> frozenset[str]:
        """Return all scopes of an owner. `shared`: user → the scopes that they have through shares."""
        if owner is None:
            return frozenset()
        if isinstance(owner, Service):
            return self._roles.scopes_of_service(owner)
        return self._roles.scopes_of_user(owner, shared.get(owner.name, ()))

    async def _services(self, names: set[str]) -> dict[str, Service]:
        """Return the services with these names, from the configuration or the store."""
        found = {name: self._roles.services[name] for name in names if name in self._roles.services}
        for name in sorted(names - set(found)):
            service = await self._store.services.get(name)
            if service is not None:
                found[name] = service
        return found


def _identity(
    digest: str, record: Session | Token, owner: User | Service, mine: frozenset[str], members: dict[str, list[str]]
) -> Identity:
    """Return the identity of an owner with the scopes `mine`.

    A token can be for a server that they reach by group. Pure.
    """
    reach = reached(mine, members)
    if isinstance(record, Session):
        return Identity(owner, digest, mine, session=record, access=reach)
    user = owner.name if isinstance(owner, User) else ""
    held = scopes.narrow((*record.scopes, *scopes.identify(owner.name, is_user=bool(user))), mine, user=user)
    if reach:
        held |= scopes.narrow((scope for scope in record.scopes if scope != "inherit"), reach, user=user)
    through = groups_in(mine, ACCESS)
    return Identity(owner, digest, held, token=record, access=reached(held, members), through=through)


def reached(held: frozenset[str], members: dict[str, list[str]]) -> frozenset[str]:
    """Return the access to servers that these scopes give through groups, as scopes of the groups' members. Pure."""
    reach: set[str] = set()
    for scope in held:
        name, _, group = scope.partition("!group=")
        if group and name in scopes.CONTAINERS[ACCESS]:
            reach.update(f"{name}!user={member}" for member in members.get(group, ()))
    return frozenset(reach)


def _service(record: Session | Token, services: dict[str, Service]) -> Service | None:
    return services.get(record.service) if isinstance(record, Token) else None
