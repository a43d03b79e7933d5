"""Closes WebSockets and long streams when a credential or right ends: within a second, on every worker.

Owns the mapping of a `revoked` event of the feed to open connections. Does not know the reason.
"""

import asyncio
from typing import Final

from gateway.door.access import may_access, may_connect
from gateway.tunnel import Caller, Tunnel
from state.errors import StateUnavailableError
from state.mirror.mirror import Mirror
from state.records.models import Route
from state.rights.identity import Identity

SIGNED_OUT: Final = 4401
"""WebSocket close code: the session has ended (private range, RFC 6455 section 7.4.2; as HTTP 401)."""
NO_ACCESS: Final = 4403
"""WebSocket close code: the user may no longer use the server (as HTTP 403)."""


class Revocation:
    """The mirror's callback in one worker.

    All events of one batch are handled in one pass over the open connections, for any number of credentials and groups:
    a roster changes a group once per member, and each member may have many connections.
    """

    def __init__(self, mirror: Mirror, tunnel: Tunnel) -> None:
        self._mirror = mirror
        self._tunnel = tunnel
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended: set[str] = set()
        self._changed: set[str] = set()

    def __call__(self, digests: frozenset[str], user: str) -> None:
        """Close connections of these credentials, and check those of this user (or group's members) again."""
        if not self._ended and not self._changed:
            asyncio.get_running_loop().call_soon(self._run)
        self._ended |= digests
        if user:
            self._changed.add(user)

    def _run(self) -> None:
        ended, self._ended = self._ended, set()
        changed, self._changed = self._changed, set()
        if ended:
            self._tunnel.close_where(lambda caller: caller.digest in ended, SIGNED_OUT, "signed out")
        if changed:
            task = asyncio.get_running_loop().create_task(self._check(changed))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _check(self, changed: set[str]) -> None:
        """Close connections that are no longer allowed. If the store is unavailable, they stay open."""
        identities: dict[str, Identity] = {}
        ended: set[str] = set()
        try:
            for digest in self._credentials_of(changed):
                identity = await self._mirror.identify_session(digest) or await self._mirror.identify_token(digest)
                if identity is None:
                    ended.add(digest)
                else:
                    identities[digest] = identity
        except StateUnavailableError:
            pass  # the next event checks the rest

        def lost(caller: Caller, route: Route, writing: bool) -> bool:  # noqa: FBT001 - as `Tunnel.end_where` asks
            identity = identities.get(caller.digest)
            if identity is None:
                return False
            if route.connects:
                return not may_connect(identity, route.user, route.name)
            return not may_access(identity, route.user, route.name, writing=writing)

        if ended:
            self._tunnel.close_where(lambda caller: caller.digest in ended, SIGNED_OUT, "signed out")
        if identities:
            self._tunnel.end_where(lost, NO_ACCESS, "access was taken away")

    def _credentials_of(self, changed: set[str]) -> set[str]:
        """Return the credentials of these users' open connections; for a group, those of all users."""
        all_users = any(each.startswith("group:") for each in changed)
        found: set[str] = set()

        def note(caller: Caller) -> bool:
            if all_users or caller.user in changed:
                found.add(caller.digest)
            return False

        self._tunnel.close_where(note, SIGNED_OUT, "")
        return found
