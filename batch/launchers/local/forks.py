"""The client of the fork server, which is started when it is first needed, and again after it has ended.

Owns that process and its socket. Does not know jobs or folders. `batch.launchers.local.forkserver` describes the
protocol.
"""

import hashlib
import marshal
import os
import py_compile
import signal
import socket
import sys
import threading
import weakref
from pathlib import Path
from typing import Final

from batch.bundle import assemble, starter_modules, starter_source

FORKSERVER: Final = Path(__file__).with_name("forkserver.py")
LINE_FD: Final = 3
ANSWER_SECONDS: Final = 10.0
ANSWER_BYTES: Final = 64
END_SECONDS: Final = 2.0


class ForkLostError(Exception):
    """The fork server ended during a request. There may be a new process; the fork server itself has ended."""


def compiled(source: Path, folder: Path) -> str:
    """Return the path of a program as bytecode of this interpreter, which is kept in the folder."""
    target = folder / f"{source.stem}-{sys.implementation.cache_tag}-{source.stat().st_mtime_ns}.pyc"
    if not target.exists():
        py_compile.compile(str(source), cfile=str(target), doraise=True)
    return str(target)


def compiled_starter(folder: Path) -> str:
    """Return the path of the starter as bytecode. It is kept in the folder because compiling it takes 8 ms.

    The file contains, marshalled: (code that finds modules, module name -> marshalled code of the module).
    """
    modules = starter_modules()
    digest = hashlib.sha256(starter_source().encode()).hexdigest()[:16]
    target = folder / f"starter-{sys.implementation.cache_tag}-{digest}.marshal"
    if not target.exists():
        finder = compile(assemble({}), "towpath-starter", "exec")
        codes = {name: marshal.dumps(compile(text, name, "exec")) for name, text in modules.items()}
        temporary = target.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(marshal.dumps((finder, codes)))
        temporary.replace(target)
    return str(target)


class _Server:
    """One fork server, and our end of its connection."""

    def __init__(self, forkserver: str, starter: str) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self.pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", forkserver, starter],
                {"LC_ALL": "C.UTF-8"},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), LINE_FD),
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
                ],
                setsid=True,
                setsigmask=[],
                setsigdef=[signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE],
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.settimeout(ANSWER_SECONDS)
        self.line = ours

    def ask(self, descriptors: tuple[int, int, int]) -> bytes:
        """Send one request and return the answer; empty if there was none."""
        try:
            socket.send_fds(self.line, [b"f"], descriptors)
            return self.line.recv(ANSWER_BYTES)
        except OSError:  # a time-out is one
            return b""

    def end(self) -> None:
        """Kill and reap it, so that it forks nothing afterwards. It is our child, so the pid is its own."""
        self.line.close()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


class Forks:
    """Forks of the starter. Several threads may call; one fork is made at a time."""

    def __init__(self, folder: Path) -> None:
        """`folder`: a private one for the fork server's bytecode. It must exist by the first fork."""
        self._folder = folder
        self._guard = threading.Lock()
        self._server: _Server | None = None
        self._closer: weakref.finalize[..., Forks] | None = None

    def fork(self, starter: str, *, spec: int, log: int, lock: int) -> tuple[int, int]:
        """Start a process that runs the starter with these descriptors, and return its (pid, start time).

        It does not read `spec` before this returns or raises. Raises OSError (there is no process) and ForkLostError.
        """
        with self._guard:
            server = self._server
            if server is None:
                server = self._server = _Server(compiled(FORKSERVER, self._folder), starter)
                self._closer = weakref.finalize(self, server.line.close)
            answer = server.ask((spec, log, lock))
            if not answer:
                self._end()
                raise ForkLostError
        if answer.startswith(b"!"):
            number = int(answer[1:])
            raise OSError(number, os.strerror(number))
        pid, start = answer.split()
        return int(pid), int(start)

    def close(self) -> None:
        """End the fork server. The processes that it forked keep running."""
        with self._guard:
            self._end()

    def _end(self) -> None:
        if self._server is not None:
            self._server.end()
            self._server = None
        if self._closer is not None:
            self._closer.detach()
            self._closer = None
