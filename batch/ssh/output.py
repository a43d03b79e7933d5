"""The result of a command."""

from msgspec import Struct


class Output(Struct, frozen=True, kw_only=True):
    """The result of a command. `code` -1: a signal ended it. `err`: the beginning of its standard error."""

    code: int
    out: bytes
    err: str
