"""How a request is read and answered.

Standard input, after the program: a line with the length of a JSON object, the object, and what else the request
brings. An input that ends early is not carried out. The answer is one line that begins with the request's own mark,
because login shells print whatever they like.
"""

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def read_request() -> "dict[str, Any]":
    """The request on standard input."""
    request = json.loads(exactly(int(sys.stdin.buffer.readline())).decode("utf-8"))  # type: dict[str, Any]
    return request  # noqa: RET504 - typed by its comment, in 3.6


def exactly(size: int) -> bytes:
    """Read exactly this many bytes from the input. Raises EOFError if the connection ended before."""
    text = sys.stdin.buffer.read(size)
    if len(text) != size:
        raise EOFError("the request is not whole")
    return text


def write_started(mark: str) -> None:
    """Tell that what follows may have been done, if there is no answer."""
    _write("\n%s started\n" % mark)


def write_answer(mark: str, answer: "dict[str, Any]") -> None:
    """Write the answer to standard output."""
    _write("\n%s %s\n" % (mark, json.dumps(answer)))


def _write(line: str) -> None:
    sys.stdout.flush()
    text = line.encode("utf-8")
    while text:
        text = text[os.write(1, text) :]
