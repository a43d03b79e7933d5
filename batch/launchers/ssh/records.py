"""A server's record as it is kept in the job's folder on a host: sealed, because that is its user's to change.

Owns its text, and whose a job is: the user's that the sealed record names, and nobody else's. Pure.
"""

import base64
import binascii

import msgspec

from batch.authority import SealError, seal, unseal
from state.records.models import Server


def seal_record(key: bytes, record: Server) -> str:
    """The text to keep with the job of this record."""
    return base64.b64encode(seal(key, record.attempt, msgspec.json.encode(record))).decode()


def open_record(key: bytes, attempt: str, text: object) -> Server | None:
    """The record; None: this hub did not seal the text for this attempt."""
    if not isinstance(text, str):
        return None
    try:
        record = msgspec.json.decode(unseal(key, attempt, base64.b64decode(text, validate=True)), type=Server)
    except (SealError, binascii.Error, msgspec.MsgspecError, ValueError):
        return None
    return record if record.attempt == attempt else None
