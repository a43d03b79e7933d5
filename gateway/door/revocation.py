"""What ends when a credential or a right ends: open WebSockets and long streams, within a second, on every worker.

Owns: the way from a `revoked` event of the feed to the connections that it concerns. Refuses to know why.
"""

import asyncio
from typing import Final

from gateway.door.access import may_access
from gateway.tunnel import Caller, Tunnel
from state.errors import StateUnavailableError
from state.mirror.mirror import Mirror
from state.records.models import Route
from state.rights.identity import Identity

SIGNED_OUT: Final = 4401
"""WebSocket close code: who opened this is signed out (private range, RFC 6455 section 7.4.2; as HTTP 401)."""
NO_ACCESS: Final = 4403
"""WebSocket close code: who opened this may not use the server any more (as HTTP 403)."""


class Revocation:
    """The mirror's callback, for one worker."""

    def __init__(self, mirror: Mirror, tunnel: Tunnel) -> None:
        self._mirror = mirror
        self._tunnel = tunnel
        self._tasks: set[asyncio.Task[None]] = set()
        self._due: set[str] = set()

    def __call__(self, digests: frozenset[str], user: str) -> None:
        """End what these credentials opened; what this user (or who goes by this group) opened is checked anew."""
        if digests:
            self._tunnel.close_where(lambda caller: caller.digest in digests, SIGNED_OUT, "signed out")
        if user and user not in self._due:  # a roster changes a group once per person: one look is enough
            self._due.add(user)
            task = asyncio.get_running_loop().create_task(self._check(user))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _check(self, user: str) -> None:
        """End what is no longer proven, or no longer allowed. Without an answer nothing is ended: the next will."""
        self._due.discard(user)
        for digest in self._held(user):
            try:
                identity = await self._mirror.identify_session(digest) or await self._mirror.identify_token(digest)
            except StateUnavailableError:
                return
            if identity is None:
                self(frozenset({digest}), "")
            else:
                self._recheck(identity)

    def _held(self, user: str) -> set[str]:
        """The credentials by which this user has something open; for a group, everybody's: rights may go by it."""
        held: set[str] = set()

        def note(caller: Caller) -> bool:
            if caller.user == user or user.startswith("group:"):
                held.add(caller.digest)
            return False

        self._tunnel.close_where(note, SIGNED_OUT, "")
        return held

    def _recheck(self, identity: Identity) -> None:
        def lost(caller: Caller, route: Route, writing: bool) -> bool:  # noqa: FBT001 - as `Tunnel.end_where` asks
            return caller.digest == identity.digest and not may_access(
                identity, route.user, route.name, writing=writing
            )

        self._tunnel.end_where(lost, NO_ACCESS, "access was taken away")
