"""Programs that wait for a user to approve them (RFC 8628). Key layout: docs/state.md, tag `{device:…}`.

Owns the codes, their single use, and how long they last. Does not know what an approved program may do. Only digests of
codes are stored.
"""

import secrets
from typing import Final

from msgspec.structs import replace

from state.records.models import DeviceSignIn
from state.redis.client import Redis, Script
from state.store import codecs, keys
from state.store.credentials import SECRET_BYTES, digest
from state.store.table import Table

LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, so that a code is no word, and no letter that looks like another (RFC 8628 section 6.1)."""
CODE_LENGTH: Final = 8
GROUP: Final = 4

# KEYS: a record. ARGV: as it was read, as it becomes. Two users cannot both approve.
_CHANGE: Final = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1
""")


class Devices:
    """All methods raise StateUnavailableError if Redis cannot serve requests."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._records = Table(redis, codecs.DEVICE_SIGN_IN)

    async def begin(self, *, client: str, address: str, now: float, lifetime: float) -> tuple[str, str]:
        """Return the code that the user types, and the program's own, which nobody else learns."""
        code = "".join(secrets.choice(LETTERS) for _ in range(CODE_LENGTH))
        secret = secrets.token_urlsafe(SECRET_BYTES)
        record = DeviceSignIn(client=client, address=address, secret=digest(secret), created=now)
        await self._redis.call(
            "SET", keys.device(digest(code)), self._records.encode(record), "NX", "PX", int(lifetime * 1000)
        )
        return f"{code[:GROUP]}-{code[GROUP:]}", f"{code}.{secret}"

    async def find(self, typed: str) -> DeviceSignIn | None:
        """Return the program that waits with this code, however it was typed; None: there is none."""
        return self._records.one(await self._read(normal(typed)), keys.device(digest(normal(typed))))

    async def approve(self, typed: str, seen: DeviceSignIn, *, user: str, under: str, session_id: str) -> bool:
        """Approve the program that was shown to the user; return whether it still waited."""
        approved = replace(seen, user=user, under=under, session_id=session_id)
        key = keys.device(digest(normal(typed)))
        return bool(
            await self._redis.run(_CHANGE, (key,), (self._records.encode(seen), self._records.encode(approved)))
        )

    async def deny(self, typed: str) -> None:
        """Forget the program: it is told that nothing waits any more."""
        await self._redis.call("DEL", keys.device(digest(normal(typed))))

    async def of_program(self, device_code: str) -> DeviceSignIn | None:
        """Return the record that a program's own code is for; None: it has expired, was denied or used, or is wrong."""
        code, _, secret = device_code.partition(".")
        record = await self.find(code)
        if record is None or not secrets.compare_digest(record.secret, digest(secret)):
            return None
        return record

    async def take(self, device_code: str) -> bool:
        """Use up a program's code; return whether this call did. Check it with `of_program` before."""
        code = device_code.partition(".")[0]
        return bool(await self._redis.call("DEL", keys.device(digest(normal(code)))))

    async def _read(self, code: str) -> bytes | None:
        found: bytes | None = await self._redis.call("GET", keys.device(digest(code)))
        return found


def normal(typed: str) -> str:
    """Return a code as it is stored: capitals, without what users type between them."""
    return "".join(letter for letter in typed[:64].upper() if letter in LETTERS)
