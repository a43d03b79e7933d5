"""The audit: an append-only stream of acts, a short stream per user of what was done to them, and readers' cursors.

Key layout: docs/state.md, tags `{audit}` and `{u:NAME}`. Only `note` writes entries. Does not know who does what, or
what a reader does with an entry.
"""

from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import replace

from state.records.audit import Act, AuditFilter, Entry, Outcome, made_plain
from state.redis.client import Redis, Script
from state.redis.connection import Command
from state.store import codecs, keys
from state.store.table import Table

MOST: Final = 1_000_000
"""Maximum length of the stream (approximately), whatever the configuration keeps (`[audit]`)."""
OWN_KEPT: Final = 500
OWN_SECONDS: Final = 180 * 24 * 3600
AT_ONCE: Final = 1000
READ_MOST: Final = 50_000
"""Entries that one call of `page` reads."""

# KEYS: cursors. ARGV: reader, fencing token, position.
_ADVANCE: Final = Script("""
local now = redis.call('HGET', KEYS[1], ARGV[1])
if now and tonumber(string.match(now, '^(%d+):')) > tonumber(ARGV[2]) then
  return redis.error_reply('FENCED token')
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ':' .. ARGV[3])
return 1
""")


class Audit:
    """The audit. All methods raise StateUnavailableError if Redis cannot serve requests."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._entries = Table(redis, codecs.ENTRY)

    async def note(self, entry: Entry) -> None:
        """Append an entry with its texts escaped. What was done to a user is in that user's stream too."""
        plain = made_plain(entry)
        record = self._entries.encode(replace(plain, id=""))
        commands: list[Command] = [("XADD", keys.AUDIT_LOG, "MAXLEN", "~", MOST, "*", "entry", record)]
        if plain.user and plain.outcome is Outcome.DONE and plain.act is not Act.USER_REMOVED:
            own = keys.audit(plain.user)
            commands.append(("XADD", own, "MAXLEN", "~", OWN_KEPT, "*", "entry", record))
            commands.append(("EXPIRE", own, OWN_SECONDS))
        await self._redis.pipeline(commands)

    async def first(self, name: str, *, seconds: int) -> bool:
        """Return whether `name` occurs for the first time within `seconds`, on any worker.

        `name` is a short key from the hub itself.
        """
        return await self._redis.call("SET", keys.audit_seen(name), 1, "NX", "EX", seconds) is not None

    async def page(self, filters: AuditFilter, *, before: str = "", limit: int = 100) -> tuple[list[Entry], str]:
        """Return the newest `limit` matching entries before the id `before`, and the id to continue with.

        An empty id means that there are no more. One call reads at most READ_MOST entries, so a page can be short
        although there are more. Unreadable entries are left out.
        """
        found: list[Entry] = []
        looked = 0
        while looked < READ_MOST:
            end = f"({before}" if before else "+"
            entries = await self._redis.call("XREVRANGE", keys.AUDIT_LOG, end, "-", "COUNT", AT_ONCE)
            for entry in self._read(keys.AUDIT_LOG, entries):
                if len(found) == limit:
                    return found, found[-1].id
                if filters.since is not None and entry.time < filters.since:
                    return found, ""
                if filters.fits(entry):
                    found.append(entry)
            before = entries[-1][0].decode() if entries else before
            if len(entries) < AT_ONCE:
                return found, ""
            looked += len(entries)
        return found, before

    async def of_user(self, name: str, *, limit: int = OWN_KEPT) -> list[Entry]:
        """Return what was done to a user, newest first."""
        key = keys.audit(name)
        return self._read(key, await self._redis.call("XREVRANGE", key, "+", "-", "COUNT", limit))

    async def after(
        self,
        position: str,
        *,
        timeout: float = 0,  # noqa: ASYNC109
        most: int = AT_ONCE,
    ) -> tuple[list[Entry], str]:
        """Return up to `most` entries after an id, oldest first, and the id to continue with.

        Waits up to `timeout` seconds if there are none. Unreadable entries are skipped.
        """
        command = ("XREAD", "COUNT", most)
        found = await self._redis.call(*command, "STREAMS", keys.AUDIT_LOG, position)
        if not found and timeout > 0:
            block = ("BLOCK", max(1, int(timeout * 1000)))
            found = await self._redis.wait(*command, *block, "STREAMS", keys.AUDIT_LOG, position, seconds=timeout)
        entries = found[0][1] if found else []
        return self._read(keys.AUDIT_LOG, entries), entries[-1][0].decode() if entries else position

    def _read(self, stream: str, entries: Sequence[Any]) -> list[Entry]:
        ids = [place.decode() for place, _ in entries]
        read = self._entries.each([fields[1] for _, fields in entries], [(stream, id_) for id_ in ids])
        return [replace(entry, id=id_) for id_, entry in zip(ids, read, strict=True) if entry is not None]

    async def cursor(self, reader: str) -> str:
        """Return a reader's position; `"0-0"` if it has not begun."""
        found = await self._redis.call("HGET", keys.AUDIT_CURSORS, reader)
        return "0-0" if found is None else found.decode().partition(":")[2]

    async def advance(self, reader: str, position: str, *, fence: int) -> None:
        """Move a reader's cursor. Raises FencedError if a later leader has moved it."""
        await self._redis.run(_ADVANCE, (keys.AUDIT_CURSORS,), (reader, fence, position))

    async def trim(self, *, entries: int, oldest: float) -> int:
        """Remove entries beyond `entries` or older than `oldest` (seconds since the epoch). Return their number."""
        by_age = await self._redis.call("XTRIM", keys.AUDIT_LOG, "MINID", f"{max(0, int(oldest * 1000))}-0")
        return int(by_age) + int(await self._redis.call("XTRIM", keys.AUDIT_LOG, "MAXLEN", entries))


def position(entry_id: str) -> tuple[int, int]:
    """Return a stream id as comparable numbers; (0, 0) if it is invalid."""
    time, _, number = entry_id.partition("-")
    return (int(time), int(number)) if time.isdecimal() and number.isdecimal() else (0, 0)
