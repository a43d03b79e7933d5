"""The actions of sharing a server, for the API and the pages: grant and revoke access, create and revoke codes, leave.

Each is checked against the caller's rights and recorded. Does not know requests' bodies, or how any of it is shown.
"""

import secrets
from collections.abc import Sequence
from typing import Any, Final

from litestar import Request
from msgspec.structs import replace

from portal.audit import recorder
from portal.rights.access import View, need_user, signed_in
from portal.sharing import share_models
from portal.site.site import Site
from state.config.one_host import REFUSED, may_share
from state.errors import InvalidError, LimitError, NotAllowedError, NotFoundError
from state.records.audit import Act
from state.records.models import Share, ShareCode, User
from state.rights.identity import Identity

READ_USER: Final = "read:users:name"
READ_GROUP: Final = "read:groups:name"
DAY: Final = 86400
LEAST, MOST = 60, 365 * DAY
"""Minimum and maximum lifetime of a code, in seconds."""


def check_hosts(site: Site) -> None:
    """Raise NotAllowedError on a hub whose servers cannot be shared (see `state.config.one_host`)."""
    if not may_share(site.config):
        raise NotAllowedError(REFUSED)


async def need_server(
    site: Site, request: Request[Any, Any, Any], scope: str, owner: str, server: str | None
) -> tuple[Identity, User]:
    """Return the caller, and the owner of the server (None: of all of theirs) that they do this to. Raises 403 and 404.

    The default server (`""`) exists before its first start.
    """
    found = await need_user(site, request, scope, owner, server)
    if server and await site.store.servers.get(owner, server) is None:
        raise NotFoundError(f"{owner} has no server named {server!r}.")
    return found


async def give(
    site: Site,
    request: Request[Any, Any, Any],
    owner: User,
    server: str,
    *,
    user: str = "",
    group: str = "",
    requested: Sequence[str] = (),
) -> Share:
    """Share with a user or a group, in addition to an existing share. `requested`: scopes, none: full access.

    The caller has the scope `shares` there. Raises InvalidError, LimitError, and NotAllowedError for what the caller
    may not grant, or to whom.
    """
    identity = signed_in(request)
    check_hosts(site)
    _one_of(user, group)
    scopes = share_models.filtered(requested, owner.name, server)
    share_models.check_own(identity, scopes, owner, server)
    await _check_recipient(site, identity, owner.name, user, group)
    share = Share(owner=owner.name, server=server, user=user, group=group, scopes=scopes, created=site.clock())
    limit = site.config.limits.shares_per_user
    if await site.store.shares.count(owner.name) >= limit and not await site.store.shares.has(share):
        raise LimitError(f"{owner.name} has {limit} shares, and the hub allows no more. Take one back first.")
    saved = await site.store.shares.grant(share)
    what = f"to {saved.key}: {' '.join(saved.scopes)}"
    await recorder.note(site.store, request, Act.SHARE_MADE, user=owner.name, server=server, what=what)
    return saved


async def take(
    site: Site,
    request: Request[Any, Any, Any],
    owner: User,
    server: str,
    *,
    user: str = "",
    group: str = "",
    requested: Sequence[str] = (),
) -> Share | None:
    """Revoke these scopes of a share (none: all). Return what is left, or None. Raises InvalidError.

    The caller has the scope `shares` there. Of a missing recipient nothing is left either.
    """
    _one_of(user, group)
    scopes = share_models.filtered(requested, owner.name, server) if requested else ()
    share = Share(owner=owner.name, server=server, user=user, group=group, scopes=scopes, created=0.0)
    left = await site.store.shares.revoke(share, scopes)
    await recorder.note(site.store, request, Act.SHARE_REVOKED, user=owner.name, server=server, what=f"of {share.key}")
    return left


async def put(
    site: Site,
    request: Request[Any, Any, Any],
    owner: User,
    server: str,
    *,
    user: str = "",
    group: str = "",
    full: bool,
) -> Share:
    """As `give`, and then a recipient of read-only access has no more than that, whatever they had before."""
    share = await give(
        site,
        request,
        owner,
        server,
        user=user,
        group=group,
        requested=[share_models.FULL if full else share_models.READING],
    )
    more = () if full else share_models.beyond_reading(share.scopes)
    left = await take(site, request, owner, server, user=user, group=group, requested=more) if more else share
    return left or share


async def take_all(site: Site, request: Request[Any, Any, Any], owner: User, server: str) -> None:
    """Revoke all shares of a server. Codes stay valid. The caller has the scope `shares` there."""
    await site.store.shares.remove_shares(owner.name, server)
    await recorder.note(site.store, request, Act.SHARE_REVOKED, user=owner.name, server=server, what="of all users")


async def make_code(
    site: Site,
    request: Request[Any, Any, Any],
    owner: User,
    server: str,
    *,
    requested: Sequence[str] = (),
    expires_in: int = DAY,
) -> tuple[ShareCode, str]:
    """Create a code; return it with its secret, which is not stored. `expires_in`: seconds.

    The caller has the scope `shares` there. Raises InvalidError, LimitError and NotAllowedError.
    """
    check_hosts(site)
    if not LEAST <= expires_in <= MOST:
        raise InvalidError(f"expires_in must be from {LEAST} to {MOST} seconds.")
    scopes = share_models.filtered(requested, owner.name, server)
    share_models.check_own(signed_in(request), scopes, owner, server)
    limit = site.config.limits.share_codes_per_user
    if len(await site.store.shares.codes(owner.name)) >= limit:
        raise LimitError(f"{owner.name} has {limit} links, and the hub allows no more. End one first.")
    now = site.clock()
    code = ShareCode(
        id=f"sc_{secrets.token_hex(8)}",
        owner=owner.name,
        server=server,
        scopes=scopes,
        created=now,
        expires=now + expires_in,
    )
    secret = await site.store.shares.issue_code(code)
    what = f"code {code.id}: {' '.join(scopes)}"
    await recorder.note(site.store, request, Act.SHARE_MADE, user=owner.name, server=server, what=what)
    return code, secret


async def accept(site: Site, request: Request[Any, Any, Any], code: ShareCode, secret: str) -> None:
    """Give the caller what this code gives. It does not use up the code: it expires, or its owner revokes it."""
    name = signed_in(request).name
    now = site.clock()
    share = Share(owner=code.owner, server=code.server, user=name, scopes=code.scopes, created=now)
    await site.store.shares.grant(share)
    await site.store.shares.used(secret, replace(code, used=code.used + 1, last_used=now))
    what = f"to {name}{share_models.BY_CODE}{code.id}"
    await recorder.note(site.store, request, Act.SHARE_MADE, user=code.owner, server=code.server, what=what)


async def end_codes(
    site: Site,
    request: Request[Any, Any, Any],
    owner: User,
    server: str,
    *,
    code_id: str = "",
    secret: str = "",
) -> None:
    """Revoke the code with this id or this secret; neither: all of the server's. Shares from it stay.

    The caller has the scope `shares` there. Raises NotFoundError for a missing code.
    """
    codes = await site.store.shares.codes(owner.name, server)
    if secret:
        brought = await site.store.shares.code(secret)
        codes = [code for code in codes if brought is not None and code.id == brought.id]
    elif code_id:
        codes = [code for code in codes if code.id == code_id]
    if not codes and (secret or code_id):
        raise NotFoundError("There is no such code.")
    for code in codes:
        await site.store.shares.end_code(code)
        what = f"code {code.id}"
        await recorder.note(site.store, request, Act.SHARE_REVOKED, user=owner.name, server=server, what=what)


async def held(site: Site, key: str, owner: str, server: str | None) -> Share:
    """Return the share of a user (by name) or a group (`group:NAME`) of this server. Raises NotFoundError."""
    for share in await site.store.shares.of(key):
        if (share.owner, share.server) == (owner, server):
            return share
    raise NotFoundError(f"There is no such share of {owner}'s.")


async def leave(site: Site, request: Request[Any, Any, Any], key: str, owner: str, server: str | None) -> None:
    """Give up a share of `key`, as `held`: the caller may do so for them. Raises NotFoundError."""
    share = await held(site, key, owner, server)
    await site.store.shares.revoke(share)
    await recorder.note(
        site.store,
        request,
        Act.SHARE_REVOKED,
        user=share.owner,
        server=share.server,
        what=f"of {key}{share_models.LEFT}",
    )


def _one_of(user: str, group: str) -> None:
    """Raise InvalidError unless exactly one of them is given."""
    if bool(user) == bool(group):
        raise InvalidError("Send exactly one of user and group.")


async def _check_recipient(site: Site, identity: Identity, owner: str, user: str, group: str) -> None:
    """Raise InvalidError if the recipient does not exist, and NotAllowedError for a caller who may not know."""
    view = View(identity)
    if user:
        found = await site.store.users.get(user)
        if not view(READ_USER, found or User(name=user, created=0.0), None):
            raise NotAllowedError(f"Sharing with users by name needs the scope {READ_USER}.")
        if found is None:
            raise InvalidError(f"No such user: {user}")
        if found.name == owner:
            raise InvalidError("The server already belongs to this user.")
    else:
        if not view.group(READ_GROUP, group):
            raise NotAllowedError(f"Sharing with groups by name needs the scope {READ_GROUP}.")
        if await site.store.groups.get(group) is None:
            raise InvalidError(f"No such group: {group}")
