"""The program that runs on hosts, and how a request to it is written and its answer read. Pure."""

import secrets
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from batch.bundle import assemble, package_modules, starter_modules

PACKAGE: Final = "batch.launchers.ssh.remote"
SHARED: Final = ("errors", "files", "processes")
"""The starter's modules that the program uses too."""
BOOTSTRAP: Final = "import sys; exec(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())))"
"""Runs what it reads. One that is cut short does nothing: the last lines of the program start it."""
SAFE: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._+-")


@cache
def program() -> bytes:
    """The program's text."""
    starter = starter_modules()
    modules = {f"batch.starter.{name}": starter[f"batch.starter.{name}"] for name in SHARED}
    parts = PACKAGE.split(".")
    packages = {".".join(parts[:count]): "" for count in range(1, len(parts))}
    own = package_modules(PACKAGE, Path(__file__).with_name("remote"))
    return assemble({**packages, "batch.starter": "", **modules, **own}, PACKAGE).encode()


def command(python: str) -> str:
    """The command line for a login shell, whichever it is: sh, csh and fish read it alike. Raises ValueError."""
    if not python.startswith("/") or set(python) - SAFE:
        msg = f"{python!r} is not a plain path."
        raise ValueError(msg)
    return f"exec {python} -I -S -c '{BOOTSTRAP}'"


def write_request(verb: str, request: Mapping[str, Any], more: bytes = b"") -> tuple[str, bytes]:
    """(mark of the answer, standard input) of a request. `more` follows the request."""
    mark = secrets.token_hex(16)
    text = msgspec.json.encode({**request, "verb": verb, "mark": mark})
    code = program()
    return mark, b"%d\n%b%d\n%b%b" % (len(code), code, len(text), text, more)


def read_answer(mark: str, out: bytes) -> dict[str, Any] | None:
    """The answer among what the login shell has printed; None: there is none."""
    head = mark.encode() + b" "
    for line in reversed(out.split(b"\n")):
        if line.startswith(head):
            try:
                answer = msgspec.json.decode(line.removeprefix(head))
            except msgspec.DecodeError:
                return None
            return answer if isinstance(answer, dict) else None
    return None
