"""The identity behind a request, for the gateway and the portal.

Owns what users and services have in common as owners of credentials. Does not know where credentials are stored or what
a scope allows.
"""

from collections.abc import Iterable

from state.errors import NotAUserError
from state.records.models import Service, Session, Token, User
from state.rights import scopes


class Identity:
    """The user or service that makes a request, and the credential that it uses.

    `scopes` are JupyterHub's. A session has all of its user's scopes. `access` is the same with group filters of
    `access:servers` resolved to the groups' members (`!user=`), for callers that do not know which groups a user is in.
    """

    __slots__ = ("access", "concerns", "digest", "owner", "scopes", "session", "token")

    def __init__(
        self,
        owner: User | Service,
        digest: str,
        held: frozenset[str],
        *,
        session: Session | None = None,
        token: Token | None = None,
        access: frozenset[str] = frozenset(),
        through: Iterable[str] = (),
    ) -> None:
        """`through`: the groups through which the owner has some of `held`, where the scopes do not name them."""
        self.owner = owner
        self.digest = digest
        self.scopes = held
        self.session = session
        self.token = token
        self.access = held | access if access else held
        groups = (*self.groups, *groups_in(held), *through)
        self.concerns = frozenset({self.key, *(f"group:{name}" for name in groups)})
        """The users, services and groups whose changes invalidate this identity: see `state.store.feed.Revoked`."""

    @property
    def user(self) -> User:
        """The user. Raises NotAUserError for a service."""
        if isinstance(self.owner, User):
            return self.owner
        raise NotAUserError("This page is for users. Use the API with a service's token.")

    @property
    def service(self) -> Service | None:
        """The service, or None for a user."""
        return self.owner if isinstance(self.owner, Service) else None

    @property
    def kind(self) -> str:
        """`user` or `service`."""
        return "user" if isinstance(self.owner, User) else "service"

    @property
    def name(self) -> str:
        """The name of the user or service, for display. Use `key` for anything else."""
        return self.owner.name

    @property
    def key(self) -> str:
        """A unique key: the user's name, or `service:NAME`."""
        return self.owner.name if isinstance(self.owner, User) else self.owner.key

    @property
    def admin(self) -> bool:
        """Whether the owner is an admin."""
        return self.owner.admin

    @property
    def groups(self) -> tuple[str, ...]:
        """The user's groups. A service has none."""
        return self.owner.groups if isinstance(self.owner, User) else ()

    def is_user(self, name: str) -> bool:
        """Whether this is the user with this name."""
        return isinstance(self.owner, User) and self.owner.name == name


def groups_in(held: Iterable[str], scope: str = "") -> set[str]:
    """Return the groups that filter these scopes. With `scope`, only those of scopes that contain it."""
    container = scopes.CONTAINERS[scope] if scope else None
    found = set()
    for one in held:
        name, _, group = one.partition("!group=")
        if group and (container is None or name in container):
            found.add(group)
    return found
