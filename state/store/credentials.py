"""Sessions, tokens and one-time links: what proves who is asking.

Key layout: docs/state.md, tags `{s:…}`, `{t:…}`, `{l:…}`. A secret is 256 random bits, URL-safe; only its SHA-256
is stored. Revoking is deleting, and a `revoked` entry in the feed for the workers' caches.
"""

from state.records import Session, Token
from state.redis import Redis


def digest(secret: str) -> str:
    """SHA-256 of a secret, in hex: what is stored, and the key of every cache."""
    raise NotImplementedError


class Sessions:
    """Signed-in browsers. All verbs raise StateUnavailableError when Redis cannot serve."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def open(self, session: Session) -> str:
        """Store a new session and return its ticket (the secret for the cookie)."""
        raise NotImplementedError

    async def get(self, ticket_digest: str) -> Session | None:
        """The session of a ticket's digest, or None when there is none or it has expired."""
        raise NotImplementedError

    async def extend(self, ticket_digest: str, expires: float) -> None:
        """Slide the expiry; no effect on a session that is gone."""
        raise NotImplementedError

    async def of_user(self, user: str) -> list[Session]:
        """All live sessions of a user."""
        raise NotImplementedError

    async def close(self, ticket_digest: str) -> bool:
        """End one session everywhere; False when there was none."""
        raise NotImplementedError

    async def close_all(self, user: str) -> int:
        """End all sessions of a user; how many there were."""
        raise NotImplementedError


class Tokens:
    """API tokens. All verbs raise StateUnavailableError when Redis cannot serve."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def issue(self, token: Token) -> str:
        """Store a new token and return its secret: the only time that it is known."""
        raise NotImplementedError

    async def get(self, secret_digest: str) -> Token | None:
        """The token of a secret's digest, or None when there is none or it has expired."""
        raise NotImplementedError

    async def of_user(self, user: str) -> list[Token]:
        """All live tokens of a user, oldest first."""
        raise NotImplementedError

    async def used(self, secret_digests: dict[str, float]) -> None:
        """Note last use (digest → seconds), in a batch; no effect on a token that is gone."""
        raise NotImplementedError

    async def revoke(self, user: str, token_id: str) -> bool:
        """End one token everywhere; False when there was none."""
        raise NotImplementedError

    async def revoke_all(self, user: str) -> int:
        """End all tokens of a user; how many there were."""
        raise NotImplementedError


class Links:
    """One-time sign-in links. All verbs raise StateUnavailableError when Redis cannot serve."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def issue(self, user: str, *, lifetime: float) -> str:
        """A secret that signs `user` in once, within `lifetime` seconds."""
        raise NotImplementedError

    async def take(self, secret: str) -> str | None:
        """The user of a link, which is used up by this; None when there is none."""
        raise NotImplementedError
