"""The program that runs on hosts, and requests to it. Pure."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from batch.ssh import programs
from batch.ssh.programs import BOOTSTRAP, command, read_answer

__all__ = ["BOOTSTRAP", "command", "program", "read_answer", "write_request"]

PACKAGE: Final = "batch.launchers.ssh.remote"
STARTER_MODULES: Final = ("errors", "files", "processes")
"""The starter's modules that the program uses too."""


@cache
def program() -> bytes:
    """The program's text."""
    return programs.assembled(PACKAGE, Path(__file__).with_name("remote"), starter=STARTER_MODULES)


def write_request(verb: str, request: Mapping[str, Any], more: bytes = b"") -> tuple[str, bytes]:
    """(mark of the answer, standard input) of a request. `more` follows the request."""
    return programs.write_request(program(), verb, request, more)
