"""What sign-ins left for hooks, encrypted: one value for each user. Key layout: docs/state.md, tag `{u:…}`.

Only the digest of a key that the configuration has, and the store never, opens a value.
"""

import hashlib
from typing import Any, Final

import msgspec

from state.errors import TowpathError
from state.redis.client import Redis
from state.store import keys

PURPOSE: Final = b"towpath auth state\0"


class AuthStateError(TowpathError):
    """A value was encrypted with another key, or for another user."""


class AuthStates:
    """All methods raise StateUnavailableError when Redis cannot serve."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def put(self, user: str, values: dict[str, Any], *, secret: str) -> None:
        """Keep the values of a user, in place of earlier ones. `secret`: `auth.auth_state_key`."""
        await self._redis.call("SET", keys.auth_state(user), _box(secret).seal(msgspec.json.encode(values), _of(user)))

    async def get(self, user: str, *, secret: str) -> dict[str, Any] | None:
        """Return the values of a user, or None. Raises AuthStateError."""
        from state.sealing.box import SealError  # noqa: PLC0415 - cryptography, which most hubs do not need here

        sealed = await self._redis.call("GET", keys.auth_state(user))
        if sealed is None:
            return None
        try:
            found: dict[str, Any] = msgspec.json.decode(_box(secret).open(sealed, _of(user)))
        except SealError as error:
            raise AuthStateError("It was encrypted with another auth_state_key.") from error
        return found

    async def drop(self, user: str) -> None:
        """Forget the values of a user."""
        await self._redis.call("DEL", keys.auth_state(user))


def _of(user: str) -> bytes:
    return PURPOSE + user.encode()


def _box(secret: str) -> Any:
    from state.sealing.box import Box  # noqa: PLC0415 - cryptography, which most hubs do not need here

    return Box(hashlib.sha256(PURPOSE + secret.encode()).digest())
