"""The credentials that reach an app whose users sign in through the hub (jupyterhub-singleuser).

Owns which credential the app receives in place of the one in the request. Does not know about the tunnel or about
authorisation.

Such an app asks the hub to identify the owner of a token. Users' own tokens do not reach it, because the owner of the
server could use them elsewhere. Instead, the app receives a restricted token, which identifies the same user to this
server and grants nothing else. It is derived from the token and the client by HMAC, so all workers derive the same one
and none has to remember it. The hub stores its digest, as for any token. It ends with the token that it replaces.

A token that the app itself obtained by OAuth is passed on unchanged. With a session, the app receives the session's
public id, in the cookie by which JupyterHub's clients distinguish one sign-in of a browser from the next.
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

AppCredentials = tuple[bytes, bytes]
"""The value of an Authorization header, and a cookie as `name=value`; empty: none."""

NOTHING: Final[AppCredentials] = (b"", b"")
SESSION_ID: Final = b"jupyterhub-session-id"
LIFETIME: Final = 3600.0
RENEW: Final = 600.0
"""A restricted token is stored again this many seconds before it expires."""
KNOWN_LIMIT: Final = 10_000

client_of = lru_cache(4096)(oauth_clients.of_server)


class HubApps:
    """The restricted tokens that one worker has stored."""

    def __init__(self, store: Store, *, limit: int = 0) -> None:
        """`limit`: how many tokens a user may have (0: any number)."""
        self._store = store
        self._limit = limit
        self._stored: dict[str, float] = {}  # digest of a restricted token → until when it is certainly in the store

    def credentials(self, identity: Identity, route: Route, authorization: bytes) -> AppCredentials | None:
        """Return the credentials for the route's app, or None if `prepare` must be called first.

        `authorization`: the header that identified the client, empty if a cookie did.
        """
        if identity.session is not None:
            return b"", _session(identity.session.id)
        token = identity.token
        if token is None:
            return NOTHING
        session = _session(token.session_id) if token.session_id else b""
        client = client_of(route.user, route.name)
        if (
            token.client == client or not authorization
        ):  # without a header, the token is in the cookie of a user's own host
            return authorization, session
        secret = restricted_token(authorization, client)
        if self._stored.get(digest(secret), 0.0) < time.time():
            return None
        return b"token " + secret.encode(), b""

    async def prepare(self, identity: Identity, route: Route, authorization: bytes) -> None:
        """Store the restricted token for a token. Raises StateUnavailableError."""
        token = identity.token
        assert token is not None  # a session needs none
        client = client_of(route.user, route.name)
        secret = restricted_token(authorization, client)
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
                note=f"Replaces the token {token.id} at the server {server_key(route.user, route.name)}",
                created=now,
                expires=expires,
                client=client,
                under=identity.digest,
                bound_to=server_key(route.user, route.name),
                attempt=route.attempt,
            ),
            key,
            limit=self._limit,
        )
        if len(self._stored) >= KNOWN_LIMIT:
            self._stored.clear()
        self._stored[key] = expires - min(RENEW, (expires - now) / 2)

    def revoked(self, digests: frozenset[str], _user: str) -> None:
        """Forget tokens that have ended. Called by the mirror."""
        for key in digests & self._stored.keys():
            del self._stored[key]


def restricted_token(authorization: bytes, client: str) -> str:
    """Return the secret of the restricted token for a token and a client."""
    secret = bearer(authorization)
    if secret is None:
        raise ValueError("no bearer token in the Authorization header")
    made = hmac.new(secret.encode(), b"towpath restricted token for " + client.encode(), sha256).digest()
    return base64.urlsafe_b64encode(made).rstrip(b"=").decode()


def _session(public_id: str) -> bytes:
    return SESSION_ID + b"=" + public_id.encode()
