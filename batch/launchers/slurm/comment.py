"""The comment of a job: whose job it is, and the sealed record of its server.

Owns `towpath:1:USER/SERVER:RECORD`, and how a record is made small enough: slurmctld accepts 1024 bytes. Does not know
how a seal is made (`batch.authority`). All users of the cluster can read comments, and copy them.
"""

import base64
import binascii
import zlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from batch.authority import SealError, seal, unseal
from batch.launchers.slurm.script import MAX_COMMENT, NAME_PREFIX
from state.records.codec import UnreadableError
from state.records.models import Server
from state.records.stored import known_fields
from state.store import codecs

PREFIX: Final = "towpath:1:"
ATTEMPT_LENGTH: Final = 32
COMMON: Final = (
    b'"memory":"G","walltime":":00:00","cores":"gpus":"gpu":"account":"partition":"qos":"normal"'
    b'"requested":1,"report_hash":"0123456789abcdef","credential":"token ","choices":{"profile":"jupyterlab",'
    b'"cluster":"slurm","target":"ready","status":"requested",'
)
"""The text that most records contain: with it, a record takes a third of the space.

Part of version 1; it must never change.
"""
LEFT_OUT: Final = ("user", "name", "attempt", "revision", "fence")
"""Fields that are in the comment or the job's name anyway, or belong only in the store."""


class Owner(Struct, frozen=True, kw_only=True):
    """The owner of a job, from its comment."""

    user: str
    server: str
    record: Server


def write(key: bytes, record: Server) -> str:
    """Return the comment of this record's job.

    If it is too long, fields that only a newer version of Towpath knows are left out, then the choices.
    """
    head = f"{PREFIX}{record.user}/{record.name}:"
    bound = _bound(record.attempt, record.user, record.name)
    known = _short(known_fields(record))
    text = ""
    for fields in (_short(msgspec.json.decode(codecs.SERVER.encode(record))), known, {**known, "choices": {}}):
        text = head + _sealed(key, bound, fields)
        if len(text) <= MAX_COMMENT:
            break
    return text


def read(key: bytes, attempt: str, comment: str) -> Owner | None:
    """Return the owner; None: this hub did not write the comment for this attempt."""
    if not comment.startswith(PREFIX):
        return None
    whose, _, sealed = comment.removeprefix(PREFIX).partition(":")
    user, slash, server = whose.partition("/")
    try:
        packed = unseal(key, _bound(attempt, user, server), base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4)))
        unpack = zlib.decompressobj(zdict=COMMON)
        fields = msgspec.json.decode(unpack.decompress(packed, 1 << 20), type=dict[str, Any])
        whole = {**fields, "user": user, "name": server, "attempt": attempt}
        record = codecs.SERVER.decode(msgspec.json.encode(whole))
    except (SealError, binascii.Error, zlib.error, msgspec.MsgspecError, UnreadableError, ValueError):
        return None
    return Owner(user=user, server=server, record=record) if slash else None


def attempt_of(name: str) -> str:
    """Return the attempt of a job's name; `""`: the job does not belong to this hub."""
    attempt = name.removeprefix(NAME_PREFIX)
    if name == NAME_PREFIX + attempt and len(attempt) == ATTEMPT_LENGTH and not set(attempt) - set("0123456789abcdef"):
        return attempt
    return ""


def _bound(attempt: str, user: str, server: str) -> str:
    """Return what the seal protects together: a user who copies a comment can change no part of it."""
    return f"{attempt} {user}/{server}"


def _short(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields without defaults, and without what the comment or the job's name contains anyway."""
    return {name: value for name, value in fields.items() if name not in LEFT_OUT and value != _DEFAULTS.get(name)}


def _sealed(key: bytes, bound: str, fields: Mapping[str, Any]) -> str:
    pack = zlib.compressobj(9, zdict=COMMON)
    packed = pack.compress(msgspec.json.encode(fields)) + pack.flush()
    return base64.urlsafe_b64encode(seal(key, bound, packed)).decode().rstrip("=")


_DEFAULTS: Final[Mapping[str, Any]] = {
    field.name: msgspec.to_builtins(field.default)
    for field in msgspec.structs.fields(Server)
    if field.default not in (msgspec.NODEFAULT, msgspec.UNSET)
}
