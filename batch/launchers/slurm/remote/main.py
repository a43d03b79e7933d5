"""One request: read it, carry it out, answer."""

from batch.ssh.remote.errors import RefusedError
from batch.ssh.remote.framing import exactly, read_request, write_answer, write_started

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence


def main(argv: "Sequence[str]") -> int:
    """Carry out the request on standard input."""
    request = read_request()
    stdin = exactly(request["stdin_size"])
    try:
        answer = carry_out(request, stdin)
    except RefusedError as error:
        answer = {"refused": error.code, "detail": error.detail}
    except OSError as error:
        answer = {"refused": "system", "detail": "%s: %s" % (error.filename, error.strerror)}
    write_answer(request["mark"], answer)
    return 0


def carry_out(request: "dict[str, Any]", stdin: bytes) -> "dict[str, Any]":
    """The answer to a request. Only what the verb needs is imported."""
    verb = request["verb"]
    if verb == "accounts":
        from batch.launchers.slurm.remote.accounts import accounts

        return {"accounts": accounts(request["name"])}
    if verb == "groups":
        from batch.launchers.slurm.remote.accounts import groups, own_groups

        return {"groups": groups(request["names"]), "own": own_groups(request["users"])}
    from batch.launchers.slurm.remote.commands import find, run

    if verb == "programs":
        return {"missing": [name for name in request["names"] if find(name, request["path"]) is None]}
    if request.get("account"):
        from batch.ssh.remote.accounts import check

        check(request)
    write_started(request["mark"])
    return run(request, stdin)
