"""The seal of job records: others cannot read or change a record, or use it for another attempt."""

from pathlib import Path
from typing import Final

from batch.authority.authority import AuthorityError, authority_folder
from state.sealing.box import KEY_BYTES, Box
from state.sealing.private_files import is_private_file

_LABEL: Final = b"towpath record 1\0"


def seal_key(data_dir: Path) -> bytes:
    """Return the key of `seal`. Raises AuthorityError if it is missing, PrivateFileError if it is not private."""
    path = authority_folder(data_dir) / "seal.key"
    key = path.read_bytes() if is_private_file(path) else b""
    if len(key) != KEY_BYTES:
        raise AuthorityError(f"There is no seal key in {path.parent}. Start the controller, which creates it.")
    return key


def seal(key: bytes, attempt: str, record: bytes) -> bytes:
    """Return the sealed record. It is 28 bytes longer."""
    return Box(key).seal(record, _LABEL + attempt.encode())


def unseal(key: bytes, attempt: str, sealed: bytes) -> bytes:
    """Return the record. Raises SealError if it was not sealed with this key for this attempt."""
    return Box(key).open(sealed, _LABEL + attempt.encode())
