"""Making an API token: which scopes it may have, and for how long.

Owns: the one way to a token, for the API and for the page. Refuses to know secrets' storage.
"""

import secrets
from collections.abc import Sequence
from typing import Final

from litestar.exceptions import HTTPException

from portal.site.site import Site
from state.config.tables import AuthConfig
from state.errors import LimitError
from state.records.models import Token, User
from state.rights import scopes
from state.rights.identity import Identity

NOTE_MAX: Final = 200
LONGEST: Final = 100 * 365 * 24 * 3600
SCOPES_MAX: Final = 100
INHERIT: Final = "inherit"
METASCOPES: Final = frozenset({INHERIT, "self"})


async def issue(
    site: Site,
    identity: Identity,
    user: User,
    *,
    note: str,
    expires_in: int | None,
    wanted: list[str] | None,
    roles: Sequence[str] = (),
) -> tuple[Token, str]:
    """A token of `user`'s, made by the caller; and its secret.

    `wanted` None and no `roles`: all that both may do; of their own, people make one that inherits what they have at
    any time.

    `roles` stand for their scopes; the token keeps those. A token never holds more than its owner may do, nor more
    than the caller's own credential: a token that may make tokens does not make a stronger one. Raises 400 for a note,
    a time, a scope or a role that is not to be had.
    """
    if len(note) > NOTE_MAX or not note.isprintable():
        raise HTTPException(status_code=400, detail=f"A note is at most {NOTE_MAX} printable characters.")
    now = site.clock()
    owners = await of_owner(site, user)
    token = Token(
        id=secrets.token_hex(8),
        user=user.name,
        scopes=tuple(sorted(_granted(identity, user, owners, _named(site, wanted, roles)))),
        note=note,
        created=now,
        expires=_end(site, expires_in, now),
    )
    limit = site.config.limits.tokens_per_user
    try:
        return token, await site.store.tokens.issue(token, limit=limit)
    except LimitError as error:
        sentence = f"{user.name} has {limit} API tokens, and the hub allows no more. Revoke one first."
        raise LimitError(sentence) from error


async def of_client(site: Site, owner: str, client: str) -> list[str]:
    """The ids of the tokens that an app or a service got by a sign-in of this user."""
    found = site.store.tokens.parts_of(owner)
    return [token.id async for part in found for token in part if token.client == client]


async def of_owner(site: Site, user: User) -> frozenset[str]:
    """All that a user may do, by roles and shares."""
    shared = (await site.store.shares.scopes_of([user])).get(user.name, ())
    return site.roles.scopes_of_user(user, shared)


def held(token: Token, owners: frozenset[str]) -> frozenset[str]:
    """What a user's token may do while its owner may do `owners`."""
    return scopes.narrow((*token.scopes, *scopes.identify(token.user, is_user=True)), owners, user=token.user)


def _named(site: Site, wanted: list[str] | None, roles: Sequence[str]) -> list[str] | None:
    """The scopes that are asked for, roles turned into theirs; None: all that can be had."""
    if wanted is None and not roles:
        return None
    asked = list(wanted or ())
    for name in roles:
        if name not in site.roles.named:
            raise HTTPException(status_code=400, detail=f"There is no role {name[:64]!r}.")
        # `!server` is for the token of a server: here there is none that it could mean
        asked += [scope for scope in site.roles.named[name].scopes if not scope.endswith("!server")]
    if len(asked) > SCOPES_MAX:
        raise HTTPException(status_code=400, detail=f"At most {SCOPES_MAX} scopes.")
    return asked


def _granted(identity: Identity, user: User, owners: frozenset[str], asked: list[str] | None) -> frozenset[str]:
    """What the token holds. Raises 400 for a scope that is not to be had whole."""
    for scope in asked or ():
        whole = scopes.granted([scope], user.name)
        if scope not in METASCOPES and (not whole or not whole <= _both([scope], owners, identity, user)):
            own = f"{scope}!user"
            hint = f" Of your own: {own}" if "!" not in scope and _both([own], owners, identity, user) else ""
            raise HTTPException(
                status_code=400,
                detail=f"The scope {scope[:100]!r} is not to be had: unknown, or more than you have.{hint}",
            )
    if (asked is None or INHERIT in asked) and _inherits(identity, user):
        return frozenset({INHERIT})
    return _both([INHERIT] if asked is None else asked, owners, identity, user)


def _inherits(identity: Identity, user: User) -> bool:
    """Whether the caller is the token's owner, by a session or by a token that inherits what its owner has at any time.

    What comes to the owner later was not the others' to give.
    """
    token = identity.token
    return identity.is_user(user.name) and (token is None or INHERIT in token.scopes)


def _both(asked: list[str], owners: frozenset[str], identity: Identity, user: User) -> frozenset[str]:
    """What of the scopes is within what the owner has and within what the caller has."""
    return scopes.narrow(scopes.narrow(asked, owners, user=user.name), identity.scopes, user=user.name)


def _end(site: Site, expires_in: int | None, now: float) -> float | None:
    """When the token ends; None: never. No time, or 0, is the longest that the site allows (GHSA-pvm9-48cg-w76j)."""
    most = (site.config.auth or AuthConfig()).token_lifetime_max
    if not expires_in:
        return now + most if most else None
    if not 0 < expires_in <= (most or LONGEST):
        raise HTTPException(
            status_code=400, detail=f"expires_in is a number of seconds from now, from 1 to {most or LONGEST}."
        )
    return now + expires_in
