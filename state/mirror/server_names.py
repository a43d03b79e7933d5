"""The names of users' servers, running or not, as one worker remembers them.

A path `/user/alice/gpu/...` means the server `gpu` if alice has one, and otherwise the default server's app. Routes
cannot tell: a stopped server has none. The feed tells when a user's names change.
"""

from typing import Final

from state.store.all import Store

USERS_MAX: Final = 10_000


class ServerNames:
    """A cache, filled by `learn`. Used from one event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, frozenset[str]] = {}
        self._changes = 0

    def peek(self, user: str) -> frozenset[str] | None:
        """Return the names without waiting. None: call `learn`."""
        return self._known.get(user)

    async def learn(self, user: str) -> frozenset[str]:
        """Read the names from the store, and remember them. Raises StateUnavailableError."""
        changes = self._changes
        names = await self._store.servers.names(user)
        if changes == self._changes:  # else they may be older than the change
            if len(self._known) >= USERS_MAX:
                self._known.clear()
            self._known[user] = names
        return names

    def changed(self, user: str) -> None:
        """Forget one user's names."""
        self._changes += 1
        self._known.pop(user, None)

    def doubt(self) -> None:
        """Forget all names: the feed may have missed a change."""
        self._changes += 1
        self._known.clear()
