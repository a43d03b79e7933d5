"""Records acts of users in the audit.

Owns the mapping from a request to an entry (who, with which credential, from where), and limits refusals so that they
cannot push out everything else. Does not know where entries are stored.
"""

import hashlib
import logging
import time
from typing import Any, Final

from litestar import Request

from state.errors import NameRuleError, StateUnavailableError
from state.names import user_name
from state.records.audit import Act, Entry, Outcome, line, made_plain
from state.rights.identity import Identity
from state.store.all import Store

log = logging.getLogger("towpath.audit")

REFUSALS_A_MINUTE: Final = 120
"""Maximum number of refusals that one worker records per minute.

A flood must not push other entries out of the stream.
"""
SAME_SECONDS: Final = 60
"""The same refusal of the same user or address is recorded once in this time."""


class Damper:
    """Limits the number of recorded refusals. Pure except for its counter."""

    def __init__(self, most: int = REFUSALS_A_MINUTE) -> None:
        self._most = most
        self._minute = 0
        self._noted = 0

    def allows(self, now: float) -> bool:
        """Count one refusal; return False if there were too many in this minute."""
        if int(now // 60) != self._minute:
            self._minute, self._noted = int(now // 60), 0
        self._noted += 1
        return self._noted <= self._most


_damper: Final = Damper()


def credential(identity: Identity | None) -> str:
    """Return the public id of the caller's credential."""
    if identity is None:
        return ""
    if identity.session is not None:
        return f"session {identity.session.id}"
    return f"token {identity.token.id}" if identity.token is not None else ""


def address(request: Request[Any, Any, Any]) -> str:
    """Return the address of the client, from the gateway, else of the peer."""
    found = request.scope["state"].get("address")
    client = request.scope.get("client")
    return str(found if found is not None else client[0] if client else "")


async def note(
    store: Store,
    request: Request[Any, Any, Any],
    act: Act,
    *,
    user: str = "",
    server: str | None = None,
    what: str = "",
    who: str | None = None,
    by: str | None = None,
) -> None:
    """Record an act that the caller has just done. If the store is unavailable, the act is still done.

    `who` and `by` are the caller's unless given.
    """
    identity = request.scope["state"].get("identity")
    await write(
        store,
        Entry(
            time=time.time(),
            act=act,
            who=who if who is not None else identity.key if identity is not None else "",
            by=by if by is not None else credential(identity),
            address=address(request),
            user=user,
            server=server,
            what=what,
        ),
    )


async def refused(
    store: Store,
    request: Request[Any, Any, Any],
    act: Act,
    *,
    why: str,
    who: str | None = None,
    user: str = "",
    server: str | None = None,
    what: str = "",
) -> None:
    """Record a refusal: once a minute for the same user, address and act, up to the limit.

    `who`: as typed by an unauthenticated user. It is recorded only if it can be a name, because users type passwords
    into the wrong field.
    """
    identity = request.scope["state"].get("identity")
    entry = Entry(
        time=time.time(),
        act=act,
        outcome=Outcome.REFUSED,
        who=possible_name(who) if who is not None else identity.key if identity is not None else "",
        by=credential(identity),
        address=address(request),
        user=user,
        server=server,
        what=what,
        why=why,
    )
    if not _damper.allows(entry.time):
        return
    same = repr((entry.act, entry.who, entry.by, entry.address, entry.user, entry.server, entry.what))
    try:
        if await store.audit.first(hashlib.sha256(same.encode()).hexdigest()[:32], seconds=SAME_SECONDS):
            await write(store, entry)
    except StateUnavailableError:
        log.warning(
            "The store is unavailable, so an act is not in the audit entry=%s",
            line(made_plain(entry)).decode().rstrip(),
        )


def possible_name(typed: str) -> str:
    """Return the name in its normal form; `""` if it is invalid."""
    try:
        return user_name(typed[:200])
    except NameRuleError:
        return ""


async def write(store: Store, entry: Entry) -> None:
    """Record an entry; one that the store cannot take goes to the log."""
    try:
        await store.audit.note(entry)
    except StateUnavailableError:
        log.warning(
            "The store is unavailable, so an act is not in the audit entry=%s",
            line(made_plain(entry)).decode().rstrip(),
        )
