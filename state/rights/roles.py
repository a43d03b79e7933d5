"""Roles, and the scopes that users and services have through them.

Owns the built-in roles, the configured roles, and the configured services as records. Does not know tokens, or where
users come from. Pure.

Source: JupyterHub 6.1, "Roles" (the roles user, admin, server and token).
"""

from collections.abc import Iterable, Mapping
from typing import Final

from state.config.one_host import may_share
from state.config.tables import Config
from state.names import server_key
from state.records.models import Role, Service, User
from state.rights import scopes

BUILT_IN: Final[Mapping[str, Role]] = {
    role.name: role
    for role in (
        Role(name="user", description="Every user's own resources", scopes=("self",)),
        Role(name="admin", description="Full access", scopes=scopes.ADMIN),
        Role(
            name="server",
            description="What a server may do for its user",
            scopes=("users:activity!user", "access:servers!server"),
        ),
        Role(name="token", description="The same as its owner", scopes=("inherit",)),
    )
}
FIXED: Final = frozenset({"admin", "token"})
"""Built-in roles that a configuration cannot change."""


class Roles:
    """All roles, and the configured services."""

    def __init__(self, roles: Iterable[Role] = (), services: Iterable[Service] = (), *, sharing: bool = True) -> None:
        """`sharing`: whether shares give any scopes (see `state.config.one_host`)."""
        self.named: dict[str, Role] = {**BUILT_IN, **{role.name: role for role in roles}}
        self.services: dict[str, Service] = {service.name: service for service in services}
        self._sharing = sharing
        self._assigned = [role for role in self.named.values() if role.users or role.groups or role.services]

    @classmethod
    def of(cls, config: Config) -> "Roles":
        """Build from the configuration."""
        return cls(
            [
                Role(
                    name=role.name,
                    description=role.description,
                    scopes=role.scopes or (BUILT_IN[role.name].scopes if role.name in BUILT_IN else ()),
                    users=role.users,
                    groups=role.groups,
                    services=role.services,
                )
                for role in config.role
            ],
            [
                Service(
                    name=service.name,
                    url=service.url,
                    admin=service.admin,
                    scopes=service.scopes,
                    oauth_redirect_uris=service.oauth_redirect_uris,
                    oauth_scopes=service.oauth_scopes,
                    oauth_no_confirm=service.oauth_no_confirm,
                    info=service.info,
                    display=service.display,
                    configured=True,
                )
                for service in config.service
            ],
            sharing=may_share(config),
        )

    def of_group(self, name: str) -> list[str]:
        """Return the names of a group's roles."""
        return sorted(role.name for role in self._assigned if name in role.groups)

    def of_user(self, user: User) -> list[str]:
        """Return the names of a user's roles: `user`, `admin`, and those assigned to the user or their groups."""
        if not self._assigned:
            return ["admin", "user"] if user.admin else ["user"]
        groups = set(user.groups)
        assigned = {
            role.name for role in self._assigned if user.name in role.users or not groups.isdisjoint(role.groups)
        }
        return sorted(assigned | ({"admin", "user"} if user.admin else {"user"}))

    def of_service(self, service: Service) -> list[str]:
        """Return the names of a service's roles."""
        assigned = {role.name for role in self._assigned if service.name in role.services}
        return sorted(assigned | ({"admin"} if service.admin else set()))

    def scopes_of_user(self, user: User, shared: Iterable[str] = ()) -> frozenset[str]:
        """Return all scopes of a user, expanded.

        `shared`: the scopes that they have through shares (`state.store.shares`).
        """
        names = self.of_user(user)
        return scopes.expand(shared if self._sharing else ()).union(
            *(self._resolved(name, user.name) for name in names)
        )

    def scopes_of_service(self, service: Service) -> frozenset[str]:
        """Return all scopes of a service, expanded."""
        return scopes.granted(service.scopes, "").union(
            *(self._resolved(name, "") for name in self.of_service(service))
        )

    def scopes_of_server(self, user: str, name: str) -> frozenset[str]:
        """Return the scopes of the token that a user's server gets: those of the role `server`.

        When the token is used, it has no more than its user has.
        """
        return scopes.of_server(self.named["server"].scopes, user, server_key(user, name))

    def scopes_of_group(self, name: str) -> frozenset[str]:
        """Return the scopes that members have through a group, expanded, without those on their own resources."""
        return frozenset().union(*(self._resolved(role, "") for role in self.of_group(name)))

    def _resolved(self, role: str, owner: str) -> frozenset[str]:
        return scopes.granted(self.named[role].scopes, owner)
