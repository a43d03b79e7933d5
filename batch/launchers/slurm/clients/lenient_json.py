"""JSON as Slurm's programs write it: with whatever bytes users put into names, and with NaN.

Owns the reading of it. Pure. slurmrestd and `squeue --json` copy a job's name and comment as they are, so one user's
job name that is not UTF-8 would make the whole answer unreadable; and a division by zero of theirs is written as NaN.
"""

import json
from typing import Any

import msgspec


def decode(text: bytes | str) -> Any:
    """The value. Bytes that are not UTF-8 become U+FFFD, and NaN and infinities None. Raises ValueError: no JSON."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        plain = text if isinstance(text, str) else text.decode(errors="replace")
        try:
            return json.loads(plain, parse_constant=lambda _: None, strict=False)
        except RecursionError as error:
            raise ValueError("the JSON is nested too deeply") from error
