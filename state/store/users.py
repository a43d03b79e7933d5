"""Users: who there is. Key layout: docs/state.md, tag `{u:NAME}` and `{users}`."""

from state.records import Server, User
from state.redis import Redis


class Users:
    """The users. All verbs raise StateUnavailableError when Redis cannot serve."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def get(self, name: str) -> User | None:
        """The user, or None."""
        raise NotImplementedError

    async def get_with_servers(self, name: str) -> tuple[User, list[Server], dict[str, float]] | None:
        """The user, their servers and the last activity per server name, in one round trip; None: no such user."""
        raise NotImplementedError

    async def add(self, user: User) -> bool:
        """Create; False when the name is taken (nothing is changed)."""
        raise NotImplementedError

    async def save(self, user: User) -> User:
        """Compare-and-set by `revision`; returns the record with its new revision. Raises ConflictError."""
        raise NotImplementedError

    async def remove(self, name: str) -> bool:
        """Delete the user and all under their tag; False when there was none. Tokens and sessions go first."""
        raise NotImplementedError

    async def names(self, *, offset: int = 0, limit: int | None = None) -> list[str]:
        """Names in alphabetical order."""
        raise NotImplementedError

    async def count(self) -> int:
        """How many users there are."""
        raise NotImplementedError

    async def many(self, names: list[str]) -> list[tuple[User, list[Server], dict[str, float]]]:
        """`get_with_servers` for several names, pipelined; unknown names are left out."""
        raise NotImplementedError
