"""One request: read it, carry it out, answer. The starter's text may follow the request."""

import errno
import os

from batch.ssh.remote.errors import RefusedError
from batch.ssh.remote.framing import exactly, read_request, write_answer
from batch.starter.errors import StartError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def main(argv: "Sequence[str]") -> int:
    """Carry out the request on standard input."""
    request = read_request()
    try:
        answer = carry_out(request)
    except RefusedError as error:
        answer = {"refused": error.code, "detail": error.detail}
    except StartError as error:  # of the starter's modules, which this program shares
        answer = {"refused": "folder", "detail": str(error)}
    except OSError as error:
        code = "space" if error.errno in NO_SPACE else "folder"
        answer = {"refused": code, "detail": "%s: %s" % (error.filename, error.strerror)}
    write_answer(request["mark"], answer)
    return 0


def carry_out(request: "dict[str, Any]") -> "dict[str, Any]":
    """The answer to a request. Only what the verb needs is imported."""
    verb = request["verb"]
    if verb == "probe":
        from batch.launchers.ssh.remote.probe import probe

        return probe(request)
    if verb == "account":
        from batch.ssh.remote.accounts import find

        return find(request["name"])
    if verb == "listen":
        from batch.launchers.ssh.remote.listen import listen

        return listen(request)
    from batch.ssh.remote.accounts import check

    os.umask(0o077)
    account = check(request)
    if verb == "look":
        from batch.launchers.ssh.remote.look import look

        return look(request, account)
    if verb == "stop":
        from batch.launchers.ssh.remote.stop import stop

        return stop(request, account)
    from batch.launchers.ssh.remote.start import start

    starter = exactly(request["starter_size"]) if request.get("starter_size") else b""
    return start(request, account, starter)
