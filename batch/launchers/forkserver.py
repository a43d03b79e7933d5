"""The fork server: a process that has read the starter once, and is forked for each job.

Owns: the forks. Refuses to know jobs: it gets three descriptors and never reads from them, so that it holds no secret,
not even for a moment. A fork costs a millisecond where an interpreter of its own costs 20 of CPU (docs/launchers.md).

Run by `batch.launchers.forks` as `python -I -S forkserver.pyc STARTER.pyc`, with one end of a SOCK_SEQPACKET pair as
descriptor 3. A request is one byte with the descriptors of stdin (the specification), of the log and of the job's lock;
the answer is `PID START`, or `!ERRNO`. It ends when the other end is closed. What it forked is in sessions of their own
and goes on: they become init's.
"""

import _signal  # type: ignore[import-not-found]  # signal itself would bring enum
import _socket
import array
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


def reap(number: int = 0, frame: object = None) -> None:  # noqa: ARG001  (a signal handler)
    """Take note of what has ended: nobody is a zombie."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def job(starter: ModuleType, descriptors: list[int]) -> int:
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
    return int(starter.main(["starter"]))


def serve(line: _socket.socket, starter: ModuleType) -> None:
    """Fork for each request until the other end is closed."""
    room = _socket.CMSG_SPACE(DESCRIPTORS * 4)
    _signal.signal(_signal.SIGCHLD, reap)
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
                    code = job(starter, descriptors.tolist())
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
    shared = program(sys.argv[1])
    gc.collect()
    gc.freeze()  # what is there now is never looked at again: its pages stay shared
    serve(_socket.socket(fileno=LINE), shared)
