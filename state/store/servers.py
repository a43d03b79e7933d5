"""Servers: records, their events, activity, and the list of those that want work.

Key layout: docs/state.md, tags `{u:NAME}` and `{servers}`.
"""

from collections.abc import Mapping

from state.records import Event, Server
from state.redis import Redis


class Servers:
    """The servers. All verbs raise StateUnavailableError when Redis cannot serve."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def get(self, user: str, name: str) -> Server | None:
        """The record, or None."""
        raise NotImplementedError

    async def of_user(self, user: str) -> list[Server]:
        """All servers of one user, by name."""
        raise NotImplementedError

    async def save(self, server: Server, *, event: Event | None = None, fence: int = 0) -> Server:
        """Compare-and-set by `revision` (0: there must be none), with its event, atomically.

        Returns the record with its new revision (and fence). Marks it active before, and wakes the
        controller after, where `server.active`. `fence` is the caller's fencing token (0: not a leader's
        write). Raises ConflictError, or FencedError when the record has seen a higher token.
        """
        raise NotImplementedError

    async def remove(self, server: Server) -> None:
        """Delete the record (compare-and-set by `revision`), its events and its activity. Raises ConflictError."""
        raise NotImplementedError

    async def active(self) -> dict[str, int]:
        """Every server key that may want work, with its mark."""
        raise NotImplementedError

    async def many(self, keys: list[str]) -> dict[str, Server]:
        """The records of several keys, pipelined; missing ones are left out."""
        raise NotImplementedError

    async def settle(self, key: str, mark: int) -> bool:
        """Take a key off the active list, if nobody marked it again since `active()`."""
        raise NotImplementedError

    async def wake(self, key: str) -> None:
        """Tell the controller to look at this server now."""
        raise NotImplementedError

    async def work(self, after: str, *, timeout: float) -> tuple[str, list[str]]:
        """Wait up to `timeout` seconds for wake-ups after the given stream position (`"$"`: from now).

        Returns the new position and the keys (de-duplicated, may be empty).
        """
        raise NotImplementedError

    async def events(
        self, user: str, name: str, *, after: str = "0", timeout: float = 0, limit: int = 500
    ) -> list[Event]:
        """Events after the stream id `after`, oldest first; waits up to `timeout` seconds when there is none."""
        raise NotImplementedError

    async def tell(self, user: str, name: str, event: Event) -> str:
        """Append an event without a change of the record; returns its id."""
        raise NotImplementedError

    async def touch(self, seen: Mapping[tuple[str, str], float]) -> None:
        """Note activity: (user, server name) → seconds; the later time wins. Also the user's last_activity."""
        raise NotImplementedError

    async def activity(self, user: str) -> dict[str, float]:
        """Last activity per server name."""
        raise NotImplementedError
