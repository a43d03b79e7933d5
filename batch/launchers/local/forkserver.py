"""The fork server: a process that has read the starter once, and is forked for each job.

Owns the forks. Does not know jobs: it receives three descriptors and never reads from them, so it never holds a
secret. A fork takes a millisecond of CPU, and a new interpreter 20 (docs/launchers.md).

Run by `batch.launchers.local.forks` as `python -I -S forkserver.pyc STARTER.marshal`, with one end of a
SOCK_SEQPACKET pair as descriptor 3. A request is one byte with the descriptors of stdin (the specification), of the
log and of the job's lock; the answer is `PID START`, or `!ERRNO`. It ends when the other end is closed. The
processes that it forked have sessions of their own and keep running; init adopts them.
"""

import _signal  # signal itself would bring enum
import _socket
import array
import errno
import gc
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CodeType
    from typing import Any

LINE = 3  # where the line is here, and the lock in a job
DESCRIPTORS = 3
DEFAULTS = (_signal.SIGCHLD, _signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP)
END_SIGNALS = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP)
IGNORED = (_signal.SIGPIPE, _signal.SIGXFSZ)
"""The signals that every interpreter ignores from its start: a closed connection must not end the starter."""


class Bytecode(dict[str, bytes]):
    """The code of the modules, unmarshalled on first use: not every job needs every module."""

    def __getitem__(self, name: str) -> "CodeType":  # type: ignore[override]
        return marshal.loads(super().__getitem__(name))  # type: ignore[no-any-return]  # noqa: S302  (as below)


def load(path: str) -> None:
    """Make the starter's modules importable, from their bytecode, and import what every job needs."""
    with open(path, "rb") as file:  # noqa: PTH123  (no pathlib in here: every fork pays for it)
        finder, codes = marshal.loads(file.read())  # noqa: S302  (written by the launcher, in a private folder)
    names: dict[str, object] = {"__name__": "starter"}
    exec(finder, names)  # noqa: S102  (the same)
    names["TEXTS"] = Bytecode(codes)
    from batch.starter.json_text import dumps, loads  # noqa: PLC0415  (importable from here on)

    loads(dumps({"warm": True}))  # their imports, before the forks


def candidates(program: str, environment: "Mapping[str, str]") -> list[str]:
    """Return the paths where a program may be, in the order of execvp(3)."""
    if "/" in program:
        return [program]
    return [f"{folder or '.'}/{program}" for folder in environment.get("PATH", os.defpath).split(":")]


def forked() -> "Callable[[dict[str, Any]], int]":
    """Return the function that runs the starter in a fork, on the hub's Python (newer than the oldest supported)."""
    from batch.starter.app import SIGNALS, App  # noqa: PLC0415
    from batch.starter.starter import Starter  # noqa: PLC0415

    defaults = [getattr(_signal, name) for name in SIGNALS]

    class ForkedApp(App):
        def execute(
            self,
            command: list[str],
            environment: dict[str, str],
            directory: str,
            log: int,
            enter: "Callable[[], None] | None" = None,
        ) -> str:
            """Start the app by vfork: no page of this process is copied, or faulted in again afterwards."""
            if enter is not None:
                return super().execute(command, environment, directory, log, enter)
            output = [(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
            number = errno.ENOENT
            try:
                os.chdir(directory)
                for path in candidates(command[0], environment):
                    try:
                        self.pid = os.posix_spawn(
                            path, command, environment,
                            file_actions=output, setsid=True, setsigmask=[], setsigdef=defaults,
                        )  # fmt: skip
                    except OSError as error:  # as execvp(3): a missing file is the least important error
                        if error.errno not in {errno.ENOENT, errno.ENOTDIR}:
                            number = error.errno or number
                    else:
                        return ""
            except OSError as error:
                number = error.errno or number
            finally:
                os.chdir("/")
            self.ended, self.exit_code = True, 127
            return f"{command[0]}: {os.strerror(number)}"

    class ForkedStarter(Starter):
        app_class = ForkedApp

        def note_job(self) -> None:
            if self.app.pid:  # the launcher has recorded our process
                super().note_job()

    return lambda spec: ForkedStarter(spec).run()


def reap(number: int = 0, frame: object = None) -> None:  # noqa: ARG001  (a signal handler)
    """Reap children that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def prepare(descriptors: list[int]) -> None:
    """Set up the child as `posix_spawn` of the starter would."""
    os.setsid()
    for number in DEFAULTS:
        _signal.signal(number, _signal.SIG_DFL)
    for number in IGNORED:
        _signal.signal(number, _signal.SIG_IGN)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, END_SIGNALS)
    spec, log, lock = descriptors
    for source, target in ((spec, 0), (log, 1), (log, 2), (lock, LINE)):
        os.dup2(source, target)
    for number in descriptors:
        os.close(number)


def serve(line: _socket.socket) -> None:
    """Fork for each request until the other end is closed."""
    from batch.starter.main import main  # noqa: PLC0415  (importable since `load`)
    from batch.starter.processes import start_time  # noqa: PLC0415

    run = forked()
    room = _socket.CMSG_SPACE(DESCRIPTORS * 4)
    _signal.signal(_signal.SIGCHLD, reap)
    gc.collect()
    gc.freeze()  # existing objects are never collected, so their pages stay shared
    while True:
        request, ancillary, _, _ = line.recvmsg(1, room)
        descriptors = array.array("i")
        for _, _, data in ancillary:
            descriptors.frombytes(data)
        if not request:
            return
        # SIGCHLD is blocked until the start time is read: a child that has ended meanwhile is still there.
        # The others are blocked in the child until it can handle them.
        _signal.pthread_sigmask(_signal.SIG_BLOCK, [_signal.SIGCHLD, *END_SIGNALS])
        try:
            pid = os.fork()
        except OSError as error:
            answer = b"!%d" % (error.errno or 0)
        else:
            if pid == 0:
                code = 1
                try:
                    prepare(descriptors.tolist())
                    code = main(["starter"], run)
                except BaseException:  # noqa: BLE001  (the job's log shall have it)
                    sys.excepthook(*sys.exc_info())
                finally:
                    os._exit(code)
            answer = b"%d %d" % (pid, start_time(pid))
        for number in descriptors:
            os.close(number)
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [_signal.SIGCHLD, *END_SIGNALS])
        try:
            line.send(answer)
        except OSError:  # the launcher has ended: so must we
            return


if __name__ == "__main__":
    os.closerange(
        LINE + 1, os.sysconf("SC_OPEN_MAX")
    )  # files that the hub was started with must not stay open in the jobs
    load(sys.argv[1])
    serve(_socket.socket(fileno=LINE))
