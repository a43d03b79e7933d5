"""Reads and writes the records of one kind, some of which may be unreadable.

Lists leave unreadable records out. Reading one record by its name raises BadRecordError, so that nobody takes it for
missing and overwrites it. Both note the record (`state.redis.damage`).
"""

from collections.abc import Sequence
from typing import Generic

from state.errors import BadRecordError
from state.records.codec import Codec, Record, UnreadableError
from state.redis.client import BAD_RECORD, Redis
from state.redis.damage import BadRecord
from state.turns import parts


class Table(Generic[Record]):
    """The records of one kind in one store."""

    def __init__(self, redis: Redis, codec: Codec[Record]) -> None:
        self._redis = redis
        self._codec = codec
        self._kind = codec.kind.__name__.lower()

    def encode(self, record: Record) -> bytes:
        """Return the record in its stored form."""
        return self._codec.encode(record)

    def demand(self, raw: bytes | None, key: str, field: str = "") -> Record | None:
        """Return the record, or None if there is none. Raises BadRecordError."""
        if raw is None:
            return None
        try:
            return self._codec.decode(raw)
        except UnreadableError as error:
            self._note(error, key, field)
            raise BadRecordError(BAD_RECORD) from error

    def one(self, raw: bytes | None, key: str, field: str = "") -> Record | None:
        """Return the record, or None if there is none or it cannot be read."""
        if raw is None:
            return None
        try:
            return self._codec.decode(raw)
        except UnreadableError as error:
            self._note(error, key, field)
            return None

    def each(self, raws: Sequence[bytes | None], places: Sequence[tuple[str, str]]) -> list[Record | None]:
        """As `one` for several records, in order. `places`: key and field of each."""
        present = [at for at, raw in enumerate(raws) if raw is not None]
        found: list[Record | None] = [None] * len(raws)
        for at, record in zip(present, self._codec.decode_each([raw for raw in raws if raw is not None]), strict=True):
            if isinstance(record, UnreadableError):
                self._note(record, *places[at])
            else:
                found[at] = record
        return found

    async def keys(self, names: Sequence[str]) -> list[Record | None]:
        """Return the records with these keys, in order, read in parts."""
        found: list[Record | None] = []
        for part in parts(names):
            raws, _ = await self._redis.values(part)
            found += self.each(raws, [(key, "") for key in part])
        return found

    async def entries(self, places: Sequence[tuple[str, str]]) -> list[Record | None]:
        """Return the records in these (key, field) of hashes, in order, read in parts."""
        found: list[Record | None] = []
        for part in parts(places):
            raws = await self._redis.pipeline([("HGET", key, field) for key, field in part])
            found += self.each(raws, part)
        return found

    async def hash(self, key: str) -> dict[str, Record]:
        """Return all readable records of a hash by field, read in parts."""
        found: dict[str, Record] = {}
        async for flat in self._redis.fields(key):
            found |= self.fields(flat, key)
        return found

    def bad(self, raws: Sequence[bytes], places: Sequence[tuple[str, str]]) -> list[BadRecord]:
        """Return the unreadable ones of several records."""
        found = self._codec.decode_each(raws)
        return [
            self._note(record, *place)
            for record, place in zip(found, places, strict=True)
            if isinstance(record, UnreadableError)
        ]

    def fields(self, flat: Sequence[bytes], key: str) -> dict[str, Record]:
        """Return the readable records of a reply to HGETALL, by field."""
        if not flat:
            return {}
        names = [name.decode() for name in flat[0::2]]
        found = self.each(flat[1::2], [(key, name) for name in names])
        return {name: record for name, record in zip(names, found, strict=True) if record is not None}

    def _note(self, error: UnreadableError, key: str, field: str) -> BadRecord:
        return self._redis.damage.note(self._kind, key, field, str(error), newer=error.newer)
