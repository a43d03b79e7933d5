"""Admins whose right came from the configuration, compared with the configuration when the gateway starts.

A user who was taken off a list of admins may not sign in for a long time, and their API tokens would keep the right.
Whoever signs in, or is asked about, is judged anew at that moment (`gateway.auth.admitting`).
"""

import asyncio
import logging
import secrets
import time
from typing import Final

from msgspec.structs import replace

from gateway.auth.admission import still_admin
from state.config.tables import AuthConfig
from state.errors import ConflictError, StateUnavailableError
from state.records.audit import Act, Entry
from state.records.models import User
from state.store.all import Store

log = logging.getLogger("towpath.sign-in")

AT_ONCE: Final = 200
RETRY_SECONDS: Final = 5.0


async def review(store: Store, auth: AuthConfig) -> int:
    """Take the right away from admins whom the configuration no longer names; how many there were.

    Raises StateUnavailableError. Several workers may do this at the same time.
    """
    count, last = 0, ""
    while names := await store.users.names_after(last, limit=AT_ONCE):
        last = names[-1]
        for user in await store.users.gather(names):
            if user is not None and user.admin and not still_admin(auth, user):
                count += await _end(store, user)
    return count


async def review_until_done(store: Store, auth: AuthConfig) -> None:
    """`review`, again until the store answers."""
    while True:
        try:
            await review(store, auth)
        except StateUnavailableError:
            await asyncio.sleep(RETRY_SECONDS * (0.5 + secrets.randbelow(1000) / 1000))
        else:
            return


async def _end(store: Store, user: User) -> bool:
    try:
        await store.users.save(replace(user, admin=False, admin_by=""))
    except ConflictError:  # somebody else has changed the user: another worker, or a sign-in that judged them anew
        return False
    log.info("The configuration no longer makes this user an admin. user=%s was=%s", user.name, user.admin_by)
    what = "is no longer an admin: the configuration does not name them any more"
    entry = Entry(time=time.time(), act=Act.USER_CHANGED, by="configuration", user=user.name, what=what)
    await store.audit.note(entry)
    return True
