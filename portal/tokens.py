"""Making an API token: which scopes it may have, and for how long.

Owns: the one way to a token, for the API and for the page. Refuses to know secrets' storage.
"""

import secrets
from typing import Final

from litestar.exceptions import HTTPException

from portal.site import Site
from state import scopes
from state.identity import Identity
from state.records import Token, User

NOTE_MAX: Final = 200
LONGEST: Final = 100 * 365 * 24 * 3600
SCOPES_MAX: Final = 100
SCOPES_TOLD: Final = 8


async def issue(
    site: Site, identity: Identity, user: User, *, note: str, expires_in: int | None, wanted: list[str] | None
) -> tuple[Token, str]:
    """A token of `user`'s, made by the caller; and its secret. `wanted` None: all that both of them may do.

    A token never holds more than its owner may do, nor more than the caller's own credential: a token that may
    make tokens does not make a stronger one. Raises 400 for a note, a time or a scope that is not to be had.
    """
    if len(note) > NOTE_MAX or not note.isprintable():
        raise HTTPException(status_code=400, detail=f"A note is at most {NOTE_MAX} printable characters.")
    if expires_in is not None and not 1 <= expires_in <= LONGEST:
        raise HTTPException(status_code=400, detail="expires_in is a number of seconds from now, at least 1.")
    if wanted is not None and len(wanted) > SCOPES_MAX:
        raise HTTPException(status_code=400, detail=f"At most {SCOPES_MAX} scopes.")
    owners = site.roles.scopes_of_user(user)
    granted = owners if wanted is None else scopes.narrow(wanted, owners)
    granted = scopes.narrow(granted, identity.scopes)
    if wanted and not granted:
        raise HTTPException(status_code=400, detail="None of these scopes is to be had: check their names.")
    now = site.clock()
    token = Token(
        id=secrets.token_hex(8),
        user=user.name,
        scopes=tuple(sorted(granted)),
        note=note,
        created=now,
        expires=None if expires_in is None else now + expires_in,
    )
    return token, await site.store.tokens.issue(token)


def told(token: Token) -> str:
    """A token in words, for the audit: its public id, what it is for, what it may do at most."""
    many = len(token.scopes) > SCOPES_TOLD
    may = f"{len(token.scopes)} scopes" if many else " ".join(token.scopes) or "nothing"
    return f"token {token.id} ({token.note or 'no note'}): {may}; {'ends' if token.expires else 'never ends'}"
