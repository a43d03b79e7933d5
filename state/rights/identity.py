"""Who is asking: one value for the door, the portal and everything between.

Owns: that a credential belongs to a user or to a service, and what each has in common. Refuses to know where
credentials are stored, and what a scope allows.
"""

from collections.abc import Iterable

from state.errors import NotAPersonError
from state.records.models import Service, Session, Token, User
from state.rights import scopes


class Identity:
    """Who is asking: a user or a service, and by what.

    `scopes` are JupyterHub's; a session has all that the user has. `access` is the same with the groups that
    `access:servers` is filtered by resolved to users (`!user=`), for whoever knows no user's groups.
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
        """`through`: groups by which the owner reaches what `held` names without them."""
        self.owner = owner
        self.digest = digest
        self.scopes = held
        self.session = session
        self.token = token
        self.access = held | access if access else held
        groups = (*self.groups, *groups_in(held), *through)
        self.concerns = frozenset({self.key, *(f"group:{name}" for name in groups)})
        """Whose changes make this out of date: see `state.store.feed.Revoked`."""

    @property
    def user(self) -> User:
        """The user. Raises NotAPersonError for a service."""
        if isinstance(self.owner, User):
            return self.owner
        raise NotAPersonError("This is for people: a service has no page of its own.")

    @property
    def service(self) -> Service | None:
        """The service; None: it is a user."""
        return self.owner if isinstance(self.owner, Service) else None

    @property
    def kind(self) -> str:
        """`user` or `service`."""
        return "user" if isinstance(self.owner, User) else "service"

    @property
    def name(self) -> str:
        """The user's or the service's name: for people to read. For anything else see `key`."""
        return self.owner.name

    @property
    def key(self) -> str:
        """One name for both: a user's name, or `service:NAME`."""
        return self.owner.name if isinstance(self.owner, User) else self.owner.key

    @property
    def admin(self) -> bool:
        """Whether they are an admin."""
        return self.owner.admin

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that a user is in."""
        return self.owner.groups if isinstance(self.owner, User) else ()

    def is_user(self, name: str) -> bool:
        """Whether this is the user of that name."""
        return isinstance(self.owner, User) and self.owner.name == name


def groups_in(held: Iterable[str], scope: str = "") -> set[str]:
    """The groups by which scopes are filtered; where `scope` is given, only of those that contain it."""
    wanted = scopes.CONTAINERS[scope] if scope else None
    found = set()
    for one in held:
        name, _, group = one.partition("!group=")
        if group and (wanted is None or name in wanted):
            found.add(group)
    return found
