"""Encodes and decodes records.

A record from a newer version of Towpath keeps what this version does not know: unknown fields are preserved, and known
fields that do not change are written back as they were read. A record that cannot be read at all is an UnreadableError
with the reason; the caller decides what to do without it.
"""

from collections.abc import Sequence
from typing import Final, Generic, TypeVar

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from state.records.stored import SCHEMA, Stored

Record = TypeVar("Record", bound=Stored)

_ENCODER: Final = msgspec.json.Encoder()
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_VERSION: Final = b'{"version":%d,' % SCHEMA
_FAULTS: Final = (msgspec.DecodeError, ValueError, RecursionError)
"""Everything that msgspec raises, including UnicodeDecodeError."""


class UnreadableError(Exception):
    """The bytes are not a record of this kind. `newer`: a newer version of Towpath wrote them."""

    def __init__(self, reason: str, *, newer: bool = False) -> None:
        super().__init__(reason)
        self.newer = newer


class Codec(Generic[Record]):
    """A codec for one kind of record."""

    def __init__(self, kind: type[Record]) -> None:
        self.kind = kind
        self._one = msgspec.json.Decoder(kind)
        self._many = msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]  # a type at run time
        self._known = frozenset(kind.__struct_fields__) - {"newer"}
        self._adds_version = kind.__struct_config__.omit_defaults

    def encode(self, record: Record) -> bytes:
        """Return the record as JSON."""
        if record.newer is not UNSET:
            return self._merged(record)
        raw = _ENCODER.encode(record)
        return _VERSION + raw[1:] if self._adds_version and record.version == SCHEMA else raw

    def decode(self, raw: bytes) -> Record:
        """Return the record. Raises UnreadableError."""
        try:
            record = self._one.decode(raw)
            if record.version <= SCHEMA and record.newer is UNSET:
                return record
        except _FAULTS:
            pass
        return self._with_unknown_fields(raw)

    def decode_each(self, raws: Sequence[bytes]) -> list[Record | UnreadableError]:
        """Return several records in order, decoded at once if all can be read."""
        try:
            found: list[Record] = self._many.decode(b"[" + b",".join(raws) + b"]")
            if len(found) == len(raws) and all(one.version <= SCHEMA and one.newer is UNSET for one in found):
                return [*found]
        except _FAULTS:
            pass
        return [self._result(raw) for raw in raws]

    def _result(self, raw: bytes) -> Record | UnreadableError:
        try:
            return self.decode(raw)
        except UnreadableError as error:
            return error

    def _with_unknown_fields(self, raw: bytes) -> Record:
        """Return the record with all of its fields as they were read."""
        version = SCHEMA
        try:
            fields = _FIELDS.decode(raw)
            if "version" in fields:
                version = msgspec.json.decode(fields["version"], type=int)
            record = self._of_known(fields)
        except _FAULTS as error:
            newer = version > SCHEMA
            prefix = f"written by a newer version of Towpath (schema {version}, here {SCHEMA}): " if newer else ""
            raise UnreadableError(f"{prefix}{error}", newer=newer) from None
        return replace(record, newer={name: msgspec.Raw(bytes(value)) for name, value in fields.items()})

    def _of_known(self, fields: dict[str, msgspec.Raw]) -> Record:
        known = {name: value for name, value in fields.items() if name in self._known}
        return self._one.decode(_ENCODER.encode(known))

    def _merged(self, record: Record) -> bytes:
        """Return the fields as they were read, updated with those that have changed."""
        read = record.newer or {}
        before = self._of_known(read)
        fields = {
            name: getattr(record, name)
            for name in self._known
            if name not in read or getattr(record, name) != getattr(before, name)
        }
        return _ENCODER.encode({**read, **fields})
