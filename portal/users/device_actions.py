"""What can be done to programs that wait for a user's approval (RFC 8628): begin, approve, deny, and get the token.

Owns what such a token may do, how long it lasts, and the limits on attempts. Does not know pages.
"""

import secrets
from typing import Any, Final

from litestar import Request

from portal.audit import recorder
from portal.site.site import Site
from state.config.tables import AuthConfig
from state.errors import InvalidError
from state.records.audit import Act, describe_token
from state.records.models import DeviceSignIn, Token
from state.rights.identity import Identity
from state.store import keys
from state.store.credentials import digest
from state.store.tries import Limit, Wait

LIFETIME: Final = 600.0
"""Seconds that a user has to approve."""
INTERVAL: Final = 2
"""Seconds between two questions of the program."""
NAME_MAX: Final = 64
CLIENT: Final = "towpath-connect"
"""The client of the tokens, by which pages list them."""

BEGIN_LIMIT: Final = Limit(free=20, leak=30, most=60)
"""For one address."""
CODE_LIMIT: Final = Limit(free=10, leak=60, most=300)
"""For one user, who types codes."""


class TooManyError(Exception):
    """Wait `seconds`, and try again."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"Too many attempts. Try again in {seconds:.0f} s.")
        self.seconds = seconds


class NotApprovedError(Exception):
    """There is no token (yet). `code` is RFC 8628's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


PENDING: Final = ("authorization_pending", "The user has not decided yet.")
EXPIRED: Final = ("expired_token", "The code has expired, was denied or was used. Begin again.")
DENIED: Final = ("access_denied", "The session in which it was approved has ended. Begin again.")


async def begin(site: Site, request: Request[Any, Any, Any], client: str) -> tuple[str, str]:
    """Return the code for the user, and the program's own. Raises TooManyError and InvalidError."""
    if len(client) > NAME_MAX or not client.isprintable():
        raise InvalidError(f"A name can have at most {NAME_MAX} printable characters.")
    address = recorder.address(request)
    await _count(site, f"device from {address}", BEGIN_LIMIT)
    return await site.store.devices.begin(client=client, address=address, now=site.clock(), lifetime=LIFETIME)


async def find(site: Site, identity: Identity, typed: str) -> DeviceSignIn | None:
    """Return the program that waits with this code; None: there is none. Raises TooManyError."""
    await _count(site, f"device code of {identity.key}", CODE_LIMIT)
    found = await site.store.devices.find(typed)
    return found if found is not None and not found.user else None


async def approve(site: Site, identity: Identity, typed: str) -> bool:
    """Let the program act for the user; return whether it still waited. Raises TooManyError."""
    session = identity.session
    assert session is not None  # only a signed-in browser can approve
    found = await find(site, identity, typed)
    return found is not None and await site.store.devices.approve(
        typed, found, user=identity.user.name, under=identity.digest, session_id=session.id
    )


async def deny(site: Site, identity: Identity, typed: str) -> None:
    """Forget the program, if it waits."""
    if await find(site, identity, typed) is not None:
        await site.store.devices.deny(typed)


async def token_for(site: Site, request: Request[Any, Any, Any], device_code: str) -> tuple[str, str]:
    """Return the user and the token's secret for an approved program, once. Raises NotApprovedError.

    The token belongs to the session in which it was approved, and ends with it.
    """
    found = await site.store.devices.of_program(device_code)
    if found is None:
        raise NotApprovedError(*EXPIRED)
    if not found.user:
        raise NotApprovedError(*PENDING)
    if not await site.store.devices.take(device_code):
        raise NotApprovedError(*EXPIRED)
    auth = site.config.auth or AuthConfig()
    now = site.clock()
    lifetime = min(auth.session_lifetime, auth.token_lifetime_max or auth.session_lifetime)
    token = Token(
        id=secrets.token_hex(8),
        user=found.user,
        scopes=(f"connect:servers!user={found.user}",),
        note=f"SSH from {found.client}" if found.client else "SSH",
        created=now,
        expires=now + lifetime,
        client=CLIENT,
        under=found.under,
        session_id=found.session_id,
    )
    secret = await site.store.tokens.issue(token, limit=site.config.limits.tokens_per_user)
    if await site.store.sessions.get(found.under) is None:  # it ended in between, and did not see the token
        await site.store.tokens.revoke(token.user, token.id)
        raise NotApprovedError(*DENIED)
    await recorder.note(
        site.store,
        request,
        Act.TOKEN_MADE,
        user=token.user,
        what=describe_token(token),
        who=token.user,
        by=f"session {token.session_id}",
    )
    return token.user, secret


async def _count(site: Site, what: str, limit: Limit) -> None:
    begun = await site.store.tries.begin({keys.tries_from(digest(what)): limit}, now=site.clock())
    if isinstance(begun, Wait):
        raise TooManyError(begun.seconds)
