"""Saves the records of servers during one term of leadership.

Owns the event, log line and audit entry that go with a change. Does not decide what changes.
"""

import logging
import time

from msgspec.structs import replace

from state.errors import StateUnavailableError
from state.names import server_key
from state.records.audit import of_end
from state.records.failure_log import log_failure
from state.records.lifecycle import PROGRESS, advance
from state.records.log_fields import log_fields
from state.records.models import Event, Reason, Server, Status
from state.store.all import Store

log = logging.getLogger("towpath.controller")


class ServerRecords:
    """Every write has the term's fencing token. All methods may raise StateUnavailableError and FencedError."""

    def __init__(self, store: Store, *, fence: int) -> None:
        self._store = store
        self._fence = fence

    async def save(self, server: Server, message: str, *, marked: bool = True) -> Server:
        """Save the record. An already marked server needs no wake-up: every tick and change of its job checks it again.

        `marked` False: the replaced record may have ended, or there is none. Raises ConflictError.
        """
        event = None
        if message:
            event = Event(
                attempt=server.attempt,
                time=time.time(),
                status=server.status,
                message=message,
                progress=PROGRESS[server.status],
            )
            log.info("A server changed %s status=%s message=%r", log_fields(server), server.status, message)
        saved = await self._store.servers.save(server, event=event, fence=self._fence, marked=marked, wake=not marked)
        if not saved.active:
            if message:
                log_failure(saved)
            await self._note_end(saved)
        return saved

    async def _note_end(self, server: Server) -> None:
        try:
            await self._store.audit.note(of_end(server, time=time.time(), by="controller"))
        except StateUnavailableError:
            log.warning("The end of a server could not be saved %s", log_fields(server))

    async def fail(self, server: Server, code: str, message: str, hint: str, field: str = "") -> None:
        """Save that the server has failed, with the reason. Raises ConflictError."""
        reason = Reason(code=code, message=message, hint=hint, field=field)
        await self.save(advance(server, Status.FAILED, now=time.time(), reason=reason), message)

    async def note_hooks(self, server: Server, event: str) -> None:
        """Save that the hooks of an event have run. Raises ConflictError."""
        await self._store.servers.save(replace(server, hooked=event), fence=self._fence, marked=True, wake=False)

    async def end_tokens(self, server: Server) -> None:
        """Revoke everything that was issued to the app, which has ended. Repeated, in case a crash interrupted it."""
        await self._store.tokens.end_bound(server_key(server.user, server.name), attempt=server.attempt)

    async def remove(self, server: Server) -> None:
        """Remove a record whose removal was requested, unless it is already gone."""
        now = await self._store.servers.get(server.user, server.name)
        if now is not None and now.attempt == server.attempt and now.removing and not now.active:
            await self._store.servers.remove(now)
            log.info("The server was removed %s", log_fields(now))
