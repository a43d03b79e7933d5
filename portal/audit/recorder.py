"""Acts of people, noted for the audit.

Owns: from a request to an entry (who, by what credential, from where), and that refusals cannot push everything else
out. Refuses to know where entries are kept.
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
"""Refusals that one worker notes in a minute: a flood of them must not push everything else out of the stream."""
SAME_SECONDS: Final = 60
"""The same refusal of the same person or address is noted once in this time."""


class Damper:
    """How many more refusals are noted. Pure but for its count."""

    def __init__(self, most: int = REFUSALS_A_MINUTE) -> None:
        self._most = most
        self._minute = 0
        self._noted = 0

    def allows(self, now: float) -> bool:
        """Count one; False: there have been too many in this minute."""
        if int(now // 60) != self._minute:
            self._minute, self._noted = int(now // 60), 0
        self._noted += 1
        return self._noted <= self._most


_damper: Final = Damper()


def credential(identity: Identity | None) -> str:
    """What proved the caller, by its public id."""
    if identity is None:
        return ""
    if identity.session is not None:
        return f"session {identity.session.id}"
    return f"token {identity.token.id}" if identity.token is not None else ""


def address(request: Request[Any, Any, Any]) -> str:
    """Where the request came from: as the gateway found, else the peer's."""
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
    """Note an act that the caller has just done. It is done: a store that is away now does not undo it.

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
    """Note a refusal: once a minute for the same person, address and act, and not more than there is room for.

    `who`: as typed by somebody who is not known yet; kept only when it could be a name, for people type passwords into
    the wrong field.
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
        log.warning("Not noted, for the store is away: %s", line(made_plain(entry)).decode().rstrip())


def possible_name(typed: str) -> str:
    """The name in its normal form; `""` when it cannot be one."""
    try:
        return user_name(typed[:200])
    except NameRuleError:
        return ""


async def write(store: Store, entry: Entry) -> None:
    """Note an entry; one that the store cannot take goes to the log."""
    try:
        await store.audit.note(entry)
    except StateUnavailableError:
        log.warning("Not noted, for the store is away: %s", line(made_plain(entry)).decode().rstrip())
