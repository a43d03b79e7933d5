"""JSON as Slurm's programs write it: with any bytes that users put into names, and with NaN.

Owns its parsing. Pure. slurmrestd and `squeue --json` copy a job's name and comment unchanged, so one user's job name
that is not UTF-8 would make the whole response unreadable; and Slurm writes a division by zero as NaN.
"""

import json
from typing import Any

import msgspec


def decode(text: bytes | str) -> Any:
    """Parse JSON. Bytes that are not UTF-8 become U+FFFD; NaN and infinities become None. Raises ValueError."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        plain = text if isinstance(text, str) else text.decode(errors="replace")
        try:
            return json.loads(plain, parse_constant=lambda _: None, strict=False)
        except RecursionError as error:
            raise ValueError("the JSON is nested too deeply") from error
