"""Revokes the admin right of users whom the configuration no longer lists, when the gateway starts.

A user who was taken off a list of admins may not sign in for a long time, and their API tokens would keep the right.
The rules are also applied at each sign-in and at each review of a session (`gateway.auth.user_admission`).
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
    """Revoke the right of admins whom the configuration no longer lists. Returns their number.

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
    """Run `review`, and repeat it until the store answers."""
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
    except ConflictError:  # another worker or a sign-in has changed the user
        return False
    log.info("The configuration no longer makes this user an admin. user=%s was=%s", user.name, user.admin_by)
    what = "is no longer an admin: removed from the configuration"
    entry = Entry(time=time.time(), act=Act.USER_CHANGED, by="configuration", user=user.name, what=what)
    await store.audit.note(entry)
    return True
