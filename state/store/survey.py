"""Reads every record in the store and reports which ones cannot be read.

The keys and the kinds of their records are those in docs/state.md. Everything is read in small steps, so that neither
the server nor the caller's event loop is blocked.
"""

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final, NamedTuple

from msgspec import Struct

from state.records.codec import Codec
from state.redis.client import Redis
from state.redis.damage import BadRecord
from state.store import codecs
from state.store.imported import IMPORTED
from state.store.table import Table

PART: Final = 200
"""Records that are read at once."""


class _Where(NamedTuple):
    """Keys with one pattern: their Redis type, and the records in them."""

    pattern: re.Pattern[str]
    type: str
    codec: Codec[Any]


def _where(pattern: str, type_: str, codec: Codec[Any]) -> _Where:
    return _Where(re.compile(rf"towpath:\{{{pattern}", re.DOTALL), type_, codec)


_PLACES: Final = (
    _where(r"u:.*\}:user", "string", codecs.USER),
    _where(r"u:.*\}:servers", "hash", codecs.SERVER),
    _where(r"u:.*\}:events:.*", "stream", codecs.EVENT),
    _where(r"u:.*\}:shares", "hash", codecs.SHARE),
    _where(r"u:.*\}:standings", "hash", codecs.STANDING),
    _where(r"u:.*\}:audit", "stream", codecs.ENTRY),
    _where(r"g:.*\}:group", "string", codecs.GROUP),
    _where(r"services\}:all", "hash", codecs.SERVICE),
    _where(r"s:.*\}:session", "string", codecs.SESSION),
    _where(r"t:.*\}:token", "string", codecs.TOKEN),
    _where(r"c:.*\}:share-code", "string", codecs.SHARE_CODE),
    _where(r"e:.*\}:entrance", "string", codecs.ENTRANCE),
    _where(r"oauth:.*\}:code", "string", codecs.OAUTH_CODE),
    _where(r"feed\}:routes", "hash", codecs.ROUTE),
    _where(r"audit\}:log", "stream", codecs.ENTRY),
    _where(r"catalog:.*\}:catalog", "string", codecs.CATALOG),
    _where(r"catalog:.*\}:grants", "hash", codecs.GRANTS),
    _where(r"imported\}:(?!ids$).*", "hash", IMPORTED),
)


class Survey(Struct, frozen=True):
    """The result of reading every record."""

    read: int
    bad: tuple[BadRecord, ...]


async def survey(redis: Redis) -> Survey:
    """Read every record once. Raises StateUnavailableError."""
    read = 0
    bad: dict[str, BadRecord] = {}
    async for names in redis.scan("towpath:{*"):
        known = [(name, where) for name in names if (where := _place(name)) is not None]
        types = await redis.pipeline([("TYPE", name) for name, _ in known])
        for (name, where), type_ in zip(known, types, strict=True):
            if type_.decode() not in {where.type, "none"}:
                reason = f"the key holds a {type_.decode()}, not a {where.type}"
                bad[name] = redis.damage.note(where.codec.kind.__name__.lower(), name, "", reason)
                continue
            async for fields, records in _parts(redis, where.type, name):
                read += len(records)
                found = _bad(redis, where.codec, name, fields, records)
                bad |= {one.place: one for one in found}
    return Survey(read, tuple(bad.values()))


async def is_bad(redis: Redis, record: BadRecord) -> bool:
    """Return whether a record still cannot be read; False if it is gone. Raises StateUnavailableError."""
    where = _place(record.key)
    if where is None or (await redis.call("TYPE", record.key)).decode() != where.type:
        return False
    raw = await raw_of(redis, record)
    return raw is not None and Table(redis, where.codec).one(raw, record.key, record.field) is None


async def raw_of(redis: Redis, record: BadRecord) -> bytes | None:
    """Return the bytes of a record; None if it is gone."""
    where = _place(record.key)
    found: bytes | None = None
    if where is not None and where.type == "string":
        found = await redis.call("GET", record.key)
    elif where is not None and where.type == "hash":
        found = await redis.call("HGET", record.key, record.field)
    elif where is not None:
        entries = await redis.call("XRANGE", record.key, record.field, record.field)
        found = entries[0][1][1] if entries else None
    return found


def type_of(key: str) -> str:
    """Return the Redis type of a key with records; `""` if it has none."""
    where = _place(key)
    return "" if where is None else where.type


def _place(key: str) -> _Where | None:
    return next((where for where in _PLACES if where.pattern.fullmatch(key)), None)


async def _parts(redis: Redis, type_: str, key: str) -> AsyncIterator[tuple[Sequence[str], Sequence[bytes]]]:
    """Yield the fields and records of a key, PART at a time."""
    if type_ == "string":
        found = await redis.call("GET", key)
        yield ([""], [found]) if found is not None else ([], [])
        return
    position: Any = "-" if type_ == "stream" else 0
    while True:
        if type_ == "stream":
            entries = await redis.call("XRANGE", key, position, "+", "COUNT", PART)
            yield [place.decode() for place, _ in entries], [fields[1] for _, fields in entries]
            if len(entries) < PART:
                return
            position = f"({entries[-1][0].decode()}"
        else:
            position, flat = await redis.call("HSCAN", key, position, "COUNT", PART)
            yield [name.decode() for name in flat[0::2]], flat[1::2]
            if int(position) == 0:
                return


def _bad(
    redis: Redis, codec: Codec[Any], key: str, fields: Sequence[str], records: Sequence[bytes]
) -> Iterable[BadRecord]:
    return Table(redis, codec).bad(records, [(key, field) for field in fields])
