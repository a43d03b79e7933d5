"""What can be done to API tokens: each act once, for the API and the page, with its audit entry.

Owns which scopes a token may have, and for how long. Does not know how secrets are stored, or bodies and pages.
"""

import secrets
from collections.abc import Iterable, Sequence
from typing import Any, Final

from litestar import Request

from portal.audit import recorder
from portal.rights.access import signed_in
from portal.site.site import Site
from state.config.origins import label
from state.config.tables import AuthConfig
from state.errors import InvalidError, LimitError
from state.records.audit import Act, describe_token
from state.records.models import Entrance, Token, User
from state.rights import scopes
from state.rights.identity import Identity

NOTE_MAX: Final = 200
LONGEST: Final = 100 * 365 * 24 * 3600
SCOPES_MAX: Final = 100
INHERIT: Final = "inherit"
METASCOPES: Final = frozenset({INHERIT, "self"})
ORIGIN_CLIENT: Final = "towpath-origin-"
"""Prefix of the client of a token for the host of a user's servers, before the label of that host."""


async def issue(
    site: Site,
    request: Request[Any, Any, Any],
    user: User,
    *,
    note: str,
    expires_in: int | None,
    requested: list[str] | None,
    roles: Sequence[str] = (),
) -> tuple[Token, str]:
    """Create a token of `user`, requested by the caller. Returns the token and its secret.

    `requested` None and no `roles`: all scopes that both have. A user's own token then inherits what the user has at
    any time.

    `roles` are replaced by their scopes. A token never has more scopes than its owner, nor more
    than the caller's credential: a token that may create tokens cannot create a stronger one. Raises InvalidError for a
    note, an expiry, a scope or a role that is not valid, and LimitError.
    """
    if len(note) > NOTE_MAX or not note.isprintable():
        raise InvalidError(f"A note can have at most {NOTE_MAX} printable characters.")
    identity, now = signed_in(request), site.clock()
    owners = await of_owner(site, user)
    token = Token(
        id=secrets.token_hex(8),
        user=user.name,
        scopes=tuple(sorted(_granted(identity, user, owners, _named(site, requested, roles)))),
        note=note,
        created=now,
        expires=_end(site, expires_in, now),
    )
    limit = site.config.limits.tokens_per_user
    try:
        secret = await site.store.tokens.issue(token, limit=limit)
    except LimitError as error:
        sentence = f"{user.name} has {limit} API tokens, and the hub allows no more. Revoke one first."
        raise LimitError(sentence) from error
    await recorder.note(site.store, request, Act.TOKEN_MADE, user=user.name, what=describe_token(token))
    return token, secret


async def issue_for_origin(site: Site, entrance: Entrance, *, lifetime: int) -> str:
    """Create the token with which a browser uses the host of a user's servers, and return its secret.

    It belongs to the session, and ends with it. It has no audit entry, because the session's sign-in has one.
    Raises LimitError.
    """
    now = site.clock()
    token = Token(
        id=secrets.token_hex(8),
        user=entrance.user,
        scopes=tuple(sorted(scopes.expand([f"access:servers!user={entrance.owner}"]))),
        note=f"the servers of {entrance.owner}, in a browser",
        created=now,
        expires=now + lifetime,
        client=ORIGIN_CLIENT + label(entrance.owner),
        under=entrance.under,
        session_id=entrance.session_id,
    )
    return await site.store.tokens.issue(token, limit=site.config.limits.tokens_per_user)


async def revoke(site: Site, request: Request[Any, Any, Any], user: User, token_ids: Iterable[str]) -> None:
    """Revoke these tokens of the user. One that does not exist is ignored."""
    for token_id in dict.fromkeys(token_ids):
        if await site.store.tokens.revoke(user.name, token_id):
            await recorder.note(site.store, request, Act.TOKEN_REVOKED, user=user.name, what=f"token {token_id}")


async def of_client(site: Site, owner: str, client: str) -> list[str]:
    """Return the ids of the tokens that an app or service got when this user signed in to it."""
    found = site.store.tokens.parts_of(owner)
    return [token.id async for part in found for token in part if token.client == client]


async def of_owner(site: Site, user: User) -> frozenset[str]:
    """Return all scopes of a user, from roles and shares."""
    shared = (await site.store.shares.scopes_of([user])).get(user.name, ())
    return site.roles.scopes_of_user(user, shared)


def held(token: Token, owners: frozenset[str]) -> frozenset[str]:
    """Return the effective scopes of a user's token if its owner has `owners`."""
    return scopes.narrow((*token.scopes, *scopes.identify(token.user, is_user=True)), owners, user=token.user)


def _named(site: Site, requested: list[str] | None, roles: Sequence[str]) -> list[str] | None:
    """Return the requested scopes, with roles replaced by their scopes; None: everything available."""
    if requested is None and not roles:
        return None
    named = list(requested or ())
    for name in roles:
        if name not in site.roles.named:
            raise InvalidError(f"The role {name[:64]!r} does not exist.")
        # `!server` is valid only in the token of a server
        named += [scope for scope in site.roles.named[name].scopes if not scope.endswith("!server")]
    if len(named) > SCOPES_MAX:
        raise InvalidError(f"At most {SCOPES_MAX} scopes.")
    return named


def _granted(identity: Identity, user: User, owners: frozenset[str], requested: list[str] | None) -> frozenset[str]:
    """Return the token's scopes. Raises InvalidError for a scope that is not completely available."""
    for scope in requested or ():
        whole = scopes.granted([scope], user.name)
        if scope not in METASCOPES and (not whole or not whole <= _both([scope], owners, identity, user)):
            own = f"{scope}!user"
            hint = f" Of your own: {own}" if "!" not in scope and _both([own], owners, identity, user) else ""
            raise InvalidError(
                f"The scope {scope[:100]!r} is unknown, or is more than you have.{hint}",
            )
    if (requested is None or INHERIT in requested) and _inherits(identity, user):
        return frozenset({INHERIT})
    return _both([INHERIT] if requested is None else requested, owners, identity, user)


def _inherits(identity: Identity, user: User) -> bool:
    """Return whether the caller is the token's owner, with a session or a token that inherits all scopes.

    Other callers cannot grant scopes that the owner gets later.
    """
    token = identity.token
    return identity.is_user(user.name) and (token is None or INHERIT in token.scopes)


def _both(requested: list[str], owners: frozenset[str], identity: Identity, user: User) -> frozenset[str]:
    """Return the part of the scopes that both the owner and the caller have."""
    return scopes.narrow(scopes.narrow(requested, owners, user=user.name), identity.scopes, user=user.name)


def _end(site: Site, expires_in: int | None, now: float) -> float | None:
    """Return when the token expires; None: never.

    No value, or 0, means the maximum of the site (GHSA-pvm9-48cg-w76j).
    """
    most = (site.config.auth or AuthConfig()).token_lifetime_max
    if not expires_in:
        return now + most if most else None
    if not 0 < expires_in <= (most or LONGEST):
        raise InvalidError(f"expires_in must be a number of seconds from 1 to {most or LONGEST}.")
    return now + expires_in
