"""Starting a job, once: folder, lock, owner.json, process, job.json, in this order.

A crash or a lost connection after any of them leaves a folder from which the next request continues. The lock, which
the starter inherits and holds for its life, lets through one process only.
"""

import hashlib
import json
import os
import time

from batch.launchers.ssh.remote.folders import Folders, read_note, try_lock
from batch.launchers.ssh.remote.loader import LOADER
from batch.launchers.ssh.remote.processes import MARK, marked
from batch.launchers.ssh.remote.scope import Scope, open_scope
from batch.ssh.remote.errors import RefusedError
from batch.starter.files import make_private, read_all, write_atomically
from batch.starter.processes import boot_id, start_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Any, Mapping, Sequence

OTHERS_SECONDS = 5.0
"""How long another request that holds the job's lock is waited for."""
SESSION_VARIABLES = (
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "XDG_SESSION_ID",
    "XDG_SESSION_TYPE",
    "XDG_SESSION_CLASS",
)


def start(request: "dict[str, Any]", account: "pwd.struct_passwd", given: bytes) -> "dict[str, Any]":
    """Start the job, unless there is one already, running or ended, or it was cancelled. Answers with who runs it."""
    folders = Folders(request["folder"], account)
    for folder in (folders.root, folders.jobs, folders.starters):
        make_private(folder)
    code = starter_file(folders.starters, request["starter"], given)
    if code < 0:
        return {"need": "starter"}
    folder = folders.job(request["attempt"])
    make_private(folder)
    limit = time.time() + OTHERS_SECONDS
    while True:
        lock = try_lock(os.path.join(folder, "lock"))
        found = existing(folder, request["attempt"])
        if found is not None or lock >= 0 or time.time() > limit:
            break
        time.sleep(0.02)
    if found is not None:
        found["existing"] = True
        return found
    if lock < 0:
        raise RefusedError("busy", "another request holds the lock of the job")
    variables = environment(account, request.get("environment") or {})
    ours = request.get("limits")  # of the group that we are in, if the hub has made one
    scope = open_scope(request, account, variables) if ours is None else Scope([], **ours)
    owner = {
        "host": request["host"], "record": request["record"], "grace": request["grace"], "time": time.time(),
        "share": request.get("share"), "limits": {"memory": scope.memory, "cores": scope.cores},
    }  # fmt: skip
    write_atomically(os.path.join(folder, "owner.json"), json.dumps(owner))
    return spawn(request, folder, scope.prefix, variables, [lock, code])


def existing(folder: str, attempt: str) -> "dict[str, Any] | None":
    """What stands against a start: a job that was started already, or a cancel."""
    job = read_note(folder, "job.json")
    if job is not None and job.get("attempt") == attempt:
        return {"job": job}
    if os.path.exists(os.path.join(folder, "canceled")):
        return {"canceled": True}
    for process in marked():  # started, by a request that ended before it wrote that down
        if process["attempt"] == attempt and process["uid"] == os.geteuid():
            return {"job": note(attempt, process["pid"], process["start"])}
    return None


def note(attempt: str, pid: int, start: int) -> "dict[str, Any]":
    """job.json, as the starter writes it."""
    return {
        "attempt": attempt, "pid": pid, "start": start, "boot": boot_id(), "app": 0, "app_start": 0,
        "time": time.time(),
    }  # fmt: skip


def starter_file(folder: str, digest: str, given: bytes) -> int:
    """A descriptor of the starter with this SHA-256, kept or given; -1: it has to be sent.

    A file that was changed is never run: it is as if there were none.
    """
    path = os.path.join(folder, digest + ".py")
    if given:
        if hashlib.sha256(given).hexdigest() != digest:
            raise RefusedError("starter", "what was sent is not the starter that was announced")
        write_bytes(path, given)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return -1
    text = read_all(fd)
    if hashlib.sha256(text).hexdigest() != digest:
        os.close(fd)
        if given:
            raise RefusedError("starter", "the starter changed while it was written")
        return -1
    os.close(fd)
    return in_memory(text, folder)  # what was checked is what runs


def write_bytes(path: str, content: bytes) -> None:
    """Replace the file in one step."""
    temporary = "%s.%d" % (path, os.getpid())
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        while content:
            content = content[os.write(fd, content) :]
    except OSError:
        os.unlink(temporary)
        raise
    finally:
        os.close(fd)
    os.rename(temporary, path)


def in_memory(content: bytes, folder: str) -> int:
    """A descriptor from which this can be read, and that no path leads to."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("towpath")
    else:
        path = os.path.join(folder, ".towpath-%d" % os.getpid())
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        os.unlink(path)
    while content:
        content = content[os.write(fd, content) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def environment(account: "pwd.struct_passwd", more: "Mapping[str, str]") -> "dict[str, str]":
    """What a login would set, and what the account's shell has added; nothing of this connection."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name[:4] != "SSH_" and name[:5] != "SUDO_" and name[:8] != "TOWPATH_" and name not in SESSION_VARIABLES
    }
    kept.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
    kept.setdefault("LANG", "C.UTF-8")
    kept.update({"HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name})
    kept["SHELL"] = account.pw_shell or "/bin/sh"
    kept.update(more)
    return kept


def spawn(
    request: "dict[str, Any]",
    folder: str,
    prefix: "Sequence[str]",
    variables: "Mapping[str, str]",
    held: "Sequence[int]",
) -> "dict[str, Any]":
    """Start the starter, or the shell that prepares its environment and becomes it. `held`: the lock, the code."""
    attempt = request["attempt"]
    spec = in_memory(request["spec"].encode("utf-8"), folder)
    message = [MARK.decode("ascii"), attempt, request["label"] or "-"]
    argv = [request["python"], "-I", "-S", "-c", LOADER, *message]
    if request.get("setup"):
        script = os.path.join(folder, "setup.sh")
        write_bytes(script, request["setup"].encode("utf-8"))
        argv = ["/bin/bash", "--norc", "--noprofile", script, *message]
    log = os.open(os.path.join(folder, "starter.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    pid, why = execute([*prefix, *argv], variables, [spec, log, log, *held])
    if why:
        raise RefusedError("spawn", why)
    job = note(attempt, pid, start_time(pid))
    path = os.path.join(folder, "job.json")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        os.write(fd, json.dumps(job).encode("utf-8"))
        os.close(fd)
    except FileExistsError:  # the starter was faster, and knows more
        pass
    return {"job": job}


def execute(argv: "Sequence[str]", variables: "Mapping[str, str]", descriptors: "Sequence[int]") -> "tuple[int, str]":
    """Fork a session of its own that runs this, with these descriptors as 0, 1, 2, ...: (pid, why it failed)."""
    failure, report = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            high = [_high(fd) for fd in descriptors]
            report = _high(report)
            for number, fd in enumerate(high):
                os.dup2(fd, number)
            os.chdir("/")
            os.execvpe(argv[0], list(argv), dict(variables))
        except BaseException as error:
            why = "%s: %s" % (argv[0], getattr(error, "strerror", None) or error)
            os.write(report, why.encode("utf-8", "replace"))
        finally:
            os._exit(127)
    os.close(report)
    why = read_all(failure).decode("utf-8", "replace")
    os.close(failure)
    if why:
        os.waitpid(pid, 0)
    return pid, why


def _high(fd: int) -> int:
    """The same, out of the way of the descriptors that the program is to have; closed by the exec."""
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 64)
