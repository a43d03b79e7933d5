"""One request: read it, carry it out, answer.

Standard input, after this program: a line with the length of a JSON object, the object, and what else the request
brings (the starter's text). An input that ends early is not carried out.
"""

import errno
import json
import os
import sys

from batch.launchers.ssh.remote.errors import RefusedError
from batch.starter.errors import StartError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def main(argv: "Sequence[str]") -> int:
    """Carry out the request on standard input."""
    request = json.loads(_exactly(_length()).decode("utf-8"))
    try:
        answer = carry_out(request)
    except RefusedError as error:
        answer = {"refused": error.code, "detail": error.detail}
    except StartError as error:  # of the starter's modules, which this program shares
        answer = {"refused": "folder", "detail": str(error)}
    except OSError as error:
        code = "space" if error.errno in NO_SPACE else "folder"
        answer = {"refused": code, "detail": "%s: %s" % (error.filename, error.strerror)}
    text = "\n%s %s\n" % (request["mark"], json.dumps(answer))
    sys.stdout.flush()
    _write_all(1, text.encode("utf-8"))
    return 0


def carry_out(request: "dict[str, Any]") -> "dict[str, Any]":
    """The answer to a request. Only what the verb needs is imported."""
    verb = request["verb"]
    if verb == "probe":
        from batch.launchers.ssh.remote.probe import probe

        return probe(request)
    if verb == "account":
        from batch.launchers.ssh.remote.accounts import find

        return find(request["name"])
    from batch.launchers.ssh.remote.accounts import check

    os.umask(0o077)
    account = check(request)
    if verb == "look":
        from batch.launchers.ssh.remote.look import look

        return look(request, account)
    if verb == "stop":
        from batch.launchers.ssh.remote.stop import stop

        return stop(request, account)
    from batch.launchers.ssh.remote.start import start

    starter = _exactly(request["starter_size"]) if request.get("starter_size") else b""
    return start(request, account, starter)


def _length() -> int:
    return int(sys.stdin.buffer.readline())


def _exactly(size: int) -> bytes:
    """So many bytes of the input. Raises EOFError: the hub or the connection went away in the middle."""
    text = sys.stdin.buffer.read(size)
    if len(text) != size:
        raise EOFError("the request is not whole")
    return text


def _write_all(fd: int, text: bytes) -> None:
    while text:
        text = text[os.write(fd, text) :]
