"""The fork server: a process that has read the starter once, and is forked for each job.

Owns: the forks. Refuses to know jobs: it gets three descriptors and never reads from them, so that it holds no secret,
not even for a moment. A fork costs a millisecond where an interpreter of its own costs 20 of CPU (docs/launchers.md).

Run by `batch.launchers.local.forks` as `python -I -S forkserver.pyc STARTER.pyc`, with one end of a SOCK_SEQPACKET pair
as descriptor 3. A request is one byte with the descriptors of stdin (the specification), of the log and of the job's
lock; the answer is `PID START`, or `!ERRNO`. It ends when the other end is closed. What it forked is in sessions of
their own and goes on: they become init's.
"""

import _signal  # type: ignore[import-not-found]  # signal itself would bring enum
import _socket
import array
import errno
import gc
import marshal
import os
import sys
from types import ModuleType

LINE = 3  # where the line is here, and the lock in a job
HEADER = 16  # bytes of a .pyc before its code (PEP 552)
DESCRIPTORS = 3
DEFAULTS = (_signal.SIGCHLD, _signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP, _signal.SIGPIPE)


def program(path: str) -> ModuleType:
    """The starter as a module: read once, for all jobs."""
    with open(path, "rb") as file:  # noqa: PTH123  (no pathlib in here: it is paid for by every fork)
        code = marshal.loads(file.read()[HEADER:])  # noqa: S302  (compiled by the launcher, in a private folder)
    starter = ModuleType("starter")
    exec(code, starter.__dict__)  # noqa: S102  (the same)
    starter.loads(starter.dumps({"warm": True}))  # their imports, before the forks
    return starter


def forked(starter: ModuleType) -> type:
    """The starter as it is in a fork: on the hub's Python, which has more than the oldest that it must run on."""
    defaults = [getattr(_signal, name) for name in starter.SIGNALS]

    class Forked(starter.Starter):  # type: ignore[misc, name-defined]
        def note_job(self) -> None:
            if self.app:  # the launcher has written down who we are
                super().note_job()

        def execute(self, command: list[str], environment: dict[str, str]) -> str:
            """By vfork: no page of ours is copied, or faulted in anew afterwards."""
            paths = [command[0]]
            if "/" not in command[0]:
                paths = [f"{part or '.'}/{command[0]}" for part in environment.get("PATH", os.defpath).split(":")]
            output = [(os.POSIX_SPAWN_DUP2, self.log, 1), (os.POSIX_SPAWN_DUP2, self.log, 2)]
            directory = self.spec.get("directory") or "/"
            number = errno.ENOENT
            try:
                os.chdir(directory)
                for path in paths:
                    try:
                        self.app = os.posix_spawn(
                            path, command, environment,
                            file_actions=output, setsid=True, setsigmask=[], setsigdef=defaults,
                        )  # fmt: skip
                    except OSError as error:  # as execvp(3): the one that is not for us counts, not the ones not there
                        if error.errno not in {errno.ENOENT, errno.ENOTDIR}:
                            number = error.errno or number
                    else:
                        return ""
            except OSError as error:
                number = error.errno or number
            finally:
                os.chdir("/")
            self.exit_code = 127
            return f"{command[0]}: {os.strerror(number)}"

    return Forked


def reap(number: int = 0, frame: object = None) -> None:  # noqa: ARG001  (a signal handler)
    """Take note of what has ended: nobody is a zombie."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def job(starter: ModuleType, kind: type, descriptors: list[int]) -> int:
    """In the child: what `posix_spawn` of the starter would have set up, and then the starter."""
    os.setsid()
    for number in DEFAULTS:
        _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, [])
    spec, log, lock = descriptors
    for source, target in ((spec, 0), (log, 1), (log, 2), (lock, LINE)):
        os.dup2(source, target)
    for number in descriptors:
        os.close(number)
    return int(starter.main(["starter"], kind))


def serve(line: _socket.socket, starter: ModuleType) -> None:
    """Fork for each request until the other end is closed."""
    kind = forked(starter)
    room = _socket.CMSG_SPACE(DESCRIPTORS * 4)
    _signal.signal(_signal.SIGCHLD, reap)
    gc.collect()
    gc.freeze()  # what is there now is never looked at again: its pages stay shared
    while True:
        request, ancillary, _, _ = line.recvmsg(1, room)
        descriptors = array.array("i")
        for _, _, data in ancillary:
            descriptors.frombytes(data)
        if not request:
            return
        # Blocked until the start time is read: a child that has ended meanwhile is still there.
        _signal.pthread_sigmask(_signal.SIG_BLOCK, [_signal.SIGCHLD])
        try:
            pid = os.fork()
        except OSError as error:
            answer = b"!%d" % (error.errno or 0)
        else:
            if pid == 0:
                code = 1
                try:
                    code = job(starter, kind, descriptors.tolist())
                except BaseException:  # noqa: BLE001  (the job's log shall have it)
                    sys.excepthook(*sys.exc_info())
                finally:
                    os._exit(code)
            answer = b"%d %d" % (pid, starter.start_time(pid))
        for number in descriptors:
            os.close(number)
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [_signal.SIGCHLD])
        try:
            line.send(answer)
        except OSError:  # the launcher is gone: so shall we
            return


if __name__ == "__main__":
    os.closerange(LINE + 1, os.sysconf("SC_OPEN_MAX"))  # what the hub was started with is not the jobs' to keep open
    serve(_socket.socket(fileno=LINE), program(sys.argv[1]))
