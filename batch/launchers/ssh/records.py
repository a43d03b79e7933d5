"""A server's record in the job's folder on a host: sealed, because the user can change the folder.

Owns its text, and whose a job is: it belongs only to the user whom the sealed record names. Pure.
"""

import base64
import binascii

from batch.authority import SealError, seal, unseal
from state.records.codec import UnreadableError
from state.records.models import Server
from state.store import codecs


def seal_record(key: bytes, record: Server) -> str:
    """Return the text to keep with the job of this record."""
    return base64.b64encode(seal(key, record.attempt, codecs.SERVER.encode(record))).decode()


def open_record(key: bytes, attempt: str, text: object) -> Server | None:
    """Return the record; None: this hub did not seal the text for this attempt."""
    if not isinstance(text, str):
        return None
    try:
        record = codecs.SERVER.decode(unseal(key, attempt, base64.b64decode(text, validate=True)))
    except (SealError, binascii.Error, UnreadableError, ValueError):
        return None
    return record if record.attempt == attempt else None
