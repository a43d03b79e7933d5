"""Records in the audit when users use, or try to use, another user's server: once an hour each.

And each connection by SSH.

Owns which visits this worker has recorded. Does not decide about access. Each request only needs a
dict lookup. A separate task asks the store, which decides which of several workers records a visit.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable
from typing import Final

from gateway.wire import Request
from portal.audit.recorder import Damper, credential
from state.errors import StateUnavailableError
from state.records.audit import Act, Entry, Outcome, line, made_plain
from state.rights.identity import Identity
from state.store.all import Store

log = logging.getLogger("towpath.audit")

AGAIN_SECONDS: Final = 3600
REMEMBERED: Final = 10_000

Visit = tuple[str, str, str, bool]


class ForeignVisits:
    """`gateway.door.contracts.Visits`."""

    def __init__(self, store: Store, address: Callable[[Request], str]) -> None:
        """`address`: returns a request's client address."""
        self._store = store
        self._address = address
        self._noted: dict[Visit, float] = {}
        self._damper = Damper()
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, request: Request, identity: Identity, user: str, name: str, *, refused: bool) -> None:
        """See `gateway.door.contracts.Visits`."""
        visit = (identity.digest, user, name, refused)
        now = time.time()
        if now - self._noted.get(visit, 0.0) < AGAIN_SECONDS or (refused and not self._damper.allows(now)):
            return
        if len(self._noted) >= REMEMBERED:
            self._noted.clear()
        self._noted[visit] = now
        entry = Entry(
            time=now,
            act=Act.SERVER_ACCESS,
            outcome=Outcome.REFUSED if refused else Outcome.DONE,
            who=identity.key,
            by=credential(identity),
            address=self._address(request),
            user=user,
            server=name,
            what="WebSocket" if request.head.websocket else "",
            why="No access to this server." if refused else "",
        )
        task = asyncio.get_running_loop().create_task(self._note(visit, entry))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _note(self, visit: Visit, entry: Entry) -> None:
        same = hashlib.sha256(repr(visit).encode()).hexdigest()[:32]
        try:
            if await self._store.audit.first(same, seconds=AGAIN_SECONDS):
                await self._store.audit.note(entry)
        except StateUnavailableError:
            self._noted.pop(visit, None)  # the next request tries again
            _log_entry(entry)


class ConnectionAudit:
    """Records each connection by SSH, and refused ones as far as a flood of them allows. Does not wait."""

    def __init__(self, store: Store, address: Callable[[Request], str]) -> None:
        """`address`: returns a request's client address."""
        self._store = store
        self._address = address
        self._damper = Damper()
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, request: Request, identity: Identity, user: str, name: str, *, refused: bool) -> None:
        """`name`: of `user`'s server."""
        now = time.time()
        if refused and not self._damper.allows(now):
            return
        entry = Entry(
            time=now,
            act=Act.SERVER_CONNECT,
            outcome=Outcome.REFUSED if refused else Outcome.DONE,
            who=identity.key,
            by=credential(identity),
            address=self._address(request),
            user=user,
            server=name,
            why="No right to connect to this server." if refused else "",
        )
        task = asyncio.get_running_loop().create_task(self._note(entry))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _note(self, entry: Entry) -> None:
        try:
            await self._store.audit.note(entry)
        except StateUnavailableError:
            _log_entry(entry)


def _log_entry(entry: Entry) -> None:
    entry_text = line(made_plain(entry)).decode().rstrip()
    log.warning("The store is unavailable, so an act is not in the audit entry=%s", entry_text)
