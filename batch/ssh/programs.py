"""Programs that hosts run for one request: how they are assembled and started, and how answers are read. Pure."""

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from batch.bundle import assemble, package_modules, starter_modules

SHARED: Final = "batch.ssh.remote"
BOOTSTRAP: Final = "import sys; exec(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())))"
"""Runs what it reads. One that is cut short does nothing: the last lines of the program start it."""
SAFE: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._+-")


def assembled(package: str, folder: Path, *, starter: Sequence[str] = ()) -> bytes:
    """Return a program: the package in this folder, what all such programs share, and modules of the starter."""
    modules = {
        **{f"batch.starter.{name}": starter_modules()[f"batch.starter.{name}"] for name in starter},
        **package_modules(SHARED, Path(__file__).with_name("remote")),
        **package_modules(package, folder),
    }
    parts = [name.split(".") for name in modules]
    packages = {".".join(part[:length]): "" for part in parts for length in range(1, len(part))}
    return assemble({**packages, **modules}, package).encode()


def command(python: str) -> str:
    """The command line for a login shell, whichever it is: sh, csh and fish read it alike. Raises ValueError."""
    if not python.startswith("/") or set(python) - SAFE:
        msg = f"{python!r} is not a plain path."
        raise ValueError(msg)
    return f"exec {python} -I -S -c '{BOOTSTRAP}'"


def write_request(program: bytes, verb: str, request: Mapping[str, Any], more: bytes = b"") -> tuple[str, bytes]:
    """(mark of the answer, standard input) of a request to a program. `more` follows the request."""
    mark = secrets.token_hex(16)
    text = msgspec.json.encode({**request, "verb": verb, "mark": mark})
    return mark, b"%d\n%b%d\n%b%b" % (len(program), program, len(text), text, more)


def started_line(mark: str) -> bytes:
    """What a program prints before it does what must be done once (`batch.ssh.remote.framing.write_started`)."""
    return f"\n{mark} started\n".encode()


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
