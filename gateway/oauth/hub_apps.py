"""What an app that signs people in by the hub (jupyterhub-singleuser) is told of who asks.

Owns: which credential goes to it in place of the one that came. Refuses to know the tunnel, and who may do what.

Such an app asks the hub who is behind a token. People's own tokens do not reach it: whoever owns the server could act
by them elsewhere. So for a token there is a stand-in: another one, which shows the same person to this server and does
nothing else. It follows from the token and the client by HMAC, so that all workers come to the same one and none has
to be remembered; the hub stores it, as any token, by its digest. It ends with the token that it stands for.

The token that the app itself was given by OAuth goes to it as it is. With a session goes its public id, in the cookie
by which JupyterHub's clients tell one sign-in of a browser from the next.
"""

import base64
import hmac
import time
from functools import lru_cache
from hashlib import sha256
from typing import Final

from gateway.auth.credentials import bearer
from state.names import server_key
from state.records.models import Route, Token
from state.rights import oauth_clients, scopes
from state.rights.identity import Identity
from state.store.all import Store
from state.store.credentials import digest

Told = tuple[bytes, bytes]
"""The value of an Authorization header, and a cookie as `name=value`; empty: none."""

NOTHING: Final[Told] = (b"", b"")
SESSION_ID: Final = b"jupyterhub-session-id"
LIFETIME: Final = 3600.0
RENEW: Final = 600.0
"""Seconds before its end at which a stand-in is stored again."""
KNOWN_LIMIT: Final = 10_000

client_of = lru_cache(4096)(oauth_clients.of_server)


class HubApps:
    """One worker's."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stored: dict[str, float] = {}  # digest of a stand-in → until when it is surely in the store

    def told(self, identity: Identity, route: Route, authorization: bytes) -> Told | None:
        """What goes to the route's app; None: `prepare` has to come first.

        `authorization`: the header by which the caller is known, empty where that is a cookie.
        """
        if identity.session is not None:
            return b"", _session(identity.session.id)
        token = identity.token
        if token is None:
            return NOTHING
        session = _session(token.session_id) if token.session_id else b""
        client = client_of(route.user, route.name)
        if token.client == client or not authorization:  # without one, the token is in the cookie of a person's host
            return authorization, session
        secret = stand_in(authorization, client)
        if self._stored.get(digest(secret), 0.0) < time.time():
            return None
        return b"token " + secret.encode(), b""

    async def prepare(self, identity: Identity, route: Route, authorization: bytes) -> None:
        """Store the stand-in for a token. Raises StateUnavailableError."""
        token = identity.token
        assert token is not None  # a session needs none
        client = client_of(route.user, route.name)
        secret = stand_in(authorization, client)
        key = digest(secret)
        now = time.time()
        expires = now + LIFETIME
        if token.expires is not None:
            expires = min(expires, token.expires)
        shown = [f"{scope}!user={token.user}" for scope in oauth_clients.IDENTIFY] if token.user else []
        access = f"access:servers!server={server_key(route.user, route.name)}"
        granted = scopes.narrow((access, *shown), identity.access, user=token.user)
        await self._store.tokens.keep(
            Token(
                id=key[:16],
                user=token.user,
                service=token.service,
                scopes=tuple(sorted(granted)),
                note=f"Stands for the token {token.id} at the server {server_key(route.user, route.name)}",
                created=now,
                expires=expires,
                client=client,
                under=identity.digest,
                bound_to=server_key(route.user, route.name),
                attempt=route.attempt,
            ),
            key,
        )
        if len(self._stored) >= KNOWN_LIMIT:
            self._stored.clear()
        self._stored[key] = expires - min(RENEW, (expires - now) / 2)

    def revoked(self, digests: frozenset[str], _user: str) -> None:
        """The mirror's callback: what has ended is not in the store."""
        for key in digests & self._stored.keys():
            del self._stored[key]


def stand_in(authorization: bytes, client: str) -> str:
    """The secret that shows a token's owner to this client, and to no other."""
    secret = bearer(authorization)
    if secret is None:
        raise ValueError("a stand-in is for a token")
    made = hmac.new(secret.encode(), b"towpath stand-in for " + client.encode(), sha256).digest()
    return base64.urlsafe_b64encode(made).rstrip(b"=").decode()


def _session(public_id: str) -> bytes:
    return SESSION_ID + b"=" + public_id.encode()
