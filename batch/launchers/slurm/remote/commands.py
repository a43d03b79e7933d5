"""Runs one Slurm command with an explicit environment, input, folder and time limit."""

import base64
import os
import signal
import subprocess
import zlib

from batch.ssh.remote.errors import RefusedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional

ERROR_MAX = 65536
LAST_CHANCE = 2.0
UMASK = 0o022  # sbatch hands its umask on to the job


def run(request: "Dict[str, Any]", stdin: bytes) -> "Dict[str, Any]":
    """Run a command with `stdin` on its standard input: its exit code, and what it printed, compressed.

    The input is a file without a name: the command sees the whole of it, or is not run. It may hold secrets.
    """
    program = find(request["program"], request["path"])
    if program is None:
        raise RefusedError("program", request["program"])
    os.umask(UMASK)
    with _file(stdin) as file:
        process = subprocess.Popen(
            [program] + request["argv"],
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=request["environment"],
            cwd="/",
            start_new_session=True,
        )
    try:
        out, err = process.communicate(timeout=request["seconds"])
    except subprocess.TimeoutExpired:
        _kill(process)
        return {"late": True}
    text = base64.b64encode(zlib.compress(out, 1)).decode("ascii")
    return {"code": process.returncode, "out": text, "err": err[:ERROR_MAX].decode("utf-8", "replace")}


def find(name: str, path: str) -> "Optional[str]":
    """The whole path of a program in one of these folders; None: it is in none."""
    for folder in path.split(":"):
        program = os.path.join(folder, name)
        if os.path.isfile(program) and os.access(program, os.X_OK):
            return program
    return None


def _file(content: bytes) -> "Any":
    """A nameless file with this content, at its beginning."""
    create = getattr(os, "memfd_create", None)  # from Python 3.8 on
    if create is None:
        from tempfile import TemporaryFile

        file = TemporaryFile()  # type: Any  # noqa: SIM115
    else:
        file = os.fdopen(create("input"), "w+b")
    file.write(content)
    file.seek(0)
    return file


def _kill(process: "subprocess.Popen[bytes]") -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except OSError:
        pass
    try:
        process.communicate(timeout=LAST_CHANCE)
    except subprocess.TimeoutExpired:
        pass
